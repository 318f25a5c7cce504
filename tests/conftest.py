"""Fixtures for all tests."""

import os
import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch


@pytest.fixture(autouse=True)
def nothing_leaks() -> Iterator[None]:
    """Fail a test that leaves the environment or the number of threads changed: later ones would compute other bits."""
    own = ("PYTEST_", "TORCHINDUCTOR_")  # pytest and torch set these themselves

    def state() -> dict[str, object]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(own)}
        return {**environment, "threads": torch.get_num_threads()}

    before = state()
    yield
    assert state() == before


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
