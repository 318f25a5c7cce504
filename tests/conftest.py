"""Fixtures for all tests."""

import http.server
import importlib
import os
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch
from threads import single_thread

importlib.import_module("sklearn")  # its first import sets KMP_ variables: they are there before any test looks


@pytest.fixture(autouse=True)
def nothing_leaks() -> Iterator[None]:
    """Fail a test that leaves the environment or the number of threads changed: later ones would compute other bits."""
    own = ("PYTEST_", "TORCHINDUCTOR_")  # pytest and torch set these themselves

    def state() -> dict[str, object]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(own)}
        return {**environment, "threads": torch.get_num_threads()}

    torch.set_grad_enabled(True)  # whatever an unfinished generator of an earlier test has left
    before = state()
    yield
    assert state() == before


@pytest.fixture
def one_thread() -> Iterator[None]:
    with single_thread():
        yield


@pytest.fixture
def figures(record_property: Callable[[str, object], None]) -> Callable[..., None]:
    """``figures(kills=20)`` adds to the sums that are printed when all tests are done."""

    def add(**counts: int) -> None:
        for name, count in counts.items():
            record_property(f"figure: {name}", count)

    return add


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the sums of what tests gave to ``figures``, whichever process they ran in."""
    sums: Counter[str] = Counter()
    for report in terminalreporter.getreports("passed"):
        for name, count in report.user_properties if report.when == "call" else ():
            if name.startswith("figure: "):
                sums[name.removeprefix("figure: ")] += count
    if sums:
        terminalreporter.section("figures")
        for name, count in sums.items():
            terminalreporter.write_line(f"{count:7,} {name.replace('_', ' ')}")


@pytest.fixture
def cifar_root() -> Path:
    """The folder of the real CIFAR-10 and CIFAR-100, which LPA_DATA names; without it the test is skipped."""
    root = os.environ.get("LPA_DATA")
    if not root:
        pytest.skip("needs the real CIFAR-10 and CIFAR-100: set LPA_DATA to the folder that holds them")
    for folder in ("cifar-10-batches-py", "cifar-100-python"):
        if not Path(root, folder).is_dir():
            pytest.skip(f"needs the real CIFAR-10 and CIFAR-100: LPA_DATA={root} has no {folder}")
    return Path(root)


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Turn the run-time shape checker off, as it is for users, so that the package's own messages are seen."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)


@pytest.fixture
def chance_untouched() -> Callable[[], AbstractContextManager[None]]:
    """``with chance_untouched():`` fails when the block draws from the random state of torch, numpy or random.

    The shape checker is off inside: it draws from ``random`` to choose which items of a list it looks at.
    """

    @contextmanager
    def watch() -> Iterator[None]:
        of_torch, of_numpy, of_python = torch.get_rng_state(), np.random.get_state(), random.getstate()
        before = jaxtyping.config.jaxtyping_disable
        jaxtyping.config.update("jaxtyping_disable", True)
        try:
            yield
        finally:
            jaxtyping.config.update("jaxtyping_disable", before)
        assert torch.equal(torch.get_rng_state(), of_torch), "torch's global random state has changed"
        assert all(np.array_equal(a, b) for a, b in zip(np.random.get_state(), of_numpy, strict=True)), "numpy's has"
        assert random.getstate() == of_python, "Python's has"

    return watch


@pytest.fixture
def slow_server() -> Iterator[tuple[bytes, str]]:
    """Two million bytes and the address of a server that sends them: at once under /whole, ever slower under /slow."""
    content, stopping = bytes(range(256)) * 8000, threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.path.startswith("/slow"):
                self.wfile.write(content[: len(content) // 2])
                stopping.wait(60)
            else:
                self.wfile.write(content)

        def log_message(self, *arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield content, f"http://127.0.0.1:{running.server_port}"
        stopping.set()
        running.shutdown()
        thread.join()
