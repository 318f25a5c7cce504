"""Mutation testing: change one thing in a module at a time, and see whether its tests notice.

mutmut makes the mutants, all of a module in one file, and switches between them. This file runs the tests: once
without a mutant, which says which tests reach which function and how long they take; then for each mutant in a fork
of that process, so that torch and the tests are imported and collected once for all mutants. A test that takes longer
than ``SLOWEST`` seconds of processor time is left out. A mutant is killed by a failing test, by a crash, or by running
ten times as long as the tests take without it.

    python tools/mutants.py                         every module of TARGETS
    python tools/mutants.py attention --sample 50   50 mutants drawn with --seed

The survivors, as differences, stay in _build/mutants/MODULE.txt. Exit code 1 where fewer than ``--least`` per cent of
the mutants of a module are killed.
"""

import argparse
import ast
import difflib
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / "_build" / "mutants"
TARGETS = {
    "attention": ("test_attention",),
    "metrics": ("test_metrics",),
    "hard": ("test_hard",),
    "posthoc": ("test_posthoc",),
    "input_maps": ("test_input_maps",),
    "layer_maps": ("test_layer_maps",),
}
# This one lists the functions of a module, and would find the mutants too. Compilation takes longer than ``SLOWEST``.
LEFT_OUT = "not test_the_table_is_complete and not compiled"
SLOWEST = 1.0
VARIABLE = "LPA_MUTANTS"


# ---- the mutants ----


def prepare(module: str, folder: Path) -> list[str]:
    """Copy the package to ``folder``, with all mutants of ``module`` in it; their names."""
    from mutmut.mutation.file_mutation import mutate_file_contents

    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / "lpa_core", folder / "lpa_core", ignore=shutil.ignore_patterns("__pycache__"))
    path = folder / "lpa_core" / f"{module}.py"
    mutated = mutate_file_contents(str(path), path.read_text(encoding="utf8"))
    path.write_text(mutated.code, encoding="utf8")
    return list(mutated.mutant_names)


def function(mutant: str) -> str:
    """mutmut's name of the function that a mutant changes."""
    return mutant.rpartition("__mutmut_")[0]


def differences(path: Path, mutants: list[str]) -> str:
    """What each mutant changes, as unified differences."""
    source = path.read_text(encoding="utf8")
    lines = source.splitlines()
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    found = {node.name: lines[node.lineno : node.end_lineno] for node in functions}
    texts = []
    for mutant in mutants:
        before, after = found[f"{function(mutant)}__mutmut_orig"], found[mutant]
        changed = list(difflib.unified_diff(before, after, lineterm="", n=1))[2:]
        texts.append("\n".join([f"# {mutant}", *changed, ""]))
    return "\n".join(texts)


# ---- the tests, as a plugin of pytest ----


def pytest_configure(config: Any) -> None:
    if VARIABLE in os.environ:
        config.pluginmanager.register(Mutants(json.loads(os.environ.pop(VARIABLE))))


class Mutants:
    """Runs the collected tests once as they are and once for each mutant."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options
        self.failed = self.in_fork = False
        self.seconds = 0.0

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_makereport(self, item: Any, call: Any) -> None:
        """End a fork at its first failure: to write what failed can take longer than the tests."""
        del item
        if self.in_fork and call.excinfo is not None and not isinstance(call.excinfo.value, pytest.skip.Exception):
            os._exit(1)

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.failed |= report.failed

    def test(self, item: Any, following: Any = None) -> bool:
        """Run one test; whether it failed. Its time is the processor's: others may use the machine too."""
        self.failed, start = False, time.process_time()
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        self.seconds = time.process_time() - start
        return self.failed

    def pytest_runtestloop(self, session: Any) -> bool:
        import importlib

        from mutmut.mutation import trampoline

        module = importlib.import_module(f"lpa_core.{self.options['module']}")
        if not Path(str(module.__file__)).is_relative_to(self.options["folder"]):
            raise session.Failed(f"lpa_core was imported from {module.__file__}")
        hits: set[str] = set()
        trampoline.record_trampoline_hit = lambda name, caller=None: hits.add(name)
        trampoline.set_mutant_under_test("stats")
        reached: dict[str, list[tuple[float, Any]]] = defaultdict(list)
        for item, following in zip(session.items, [*session.items[1:], None], strict=True):
            hits.clear()
            if self.test(item, following):
                raise session.Failed(f"{item.nodeid} fails without a mutant")
            if self.seconds <= SLOWEST:
                for name in hits:
                    reached[name].append((self.seconds, item))
        control = [tests[0] for tests in reached.values()]
        if self.verdict("nothing", control) != "survived":
            raise session.Failed("the tests fail in a fork, without a mutant")
        results = {}
        for mutant in self.options["mutants"]:
            tests = sorted(reached[f"{module.__name__}.{function(mutant)}"], key=lambda test: test[0])
            results[mutant] = self.verdict(f"{module.__name__}.{mutant}", tests) if tests else "no test"
        Path(self.options["results"]).write_text(json.dumps(results), encoding="utf8")
        return True

    def verdict(self, mutant: str, tests: list[tuple[float, Any]]) -> str:
        from mutmut.mutation import trampoline

        child = os.fork()
        if child == 0:
            try:
                nothing = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nothing, 1)
                os.dup2(nothing, 2)
                limit = int(10 + 10 * sum(seconds for seconds, _ in tests))
                resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
                self.in_fork = True
                trampoline.set_mutant_under_test(mutant)
                os._exit(int(any(self.test(item) for _, item in tests)))
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        return "survived" if status == 0 else "killed"


# ---- the campaign ----


def campaign(module: str, sample: int | None, seed: int) -> float:
    """Test the mutants of one module; prints the figures and returns the percentage that was killed."""
    start, folder = time.monotonic(), WORK / module
    every = prepare(module, folder)
    chosen = sorted(random.Random(seed).sample(every, sample)) if sample and sample < len(every) else every
    results = WORK / f"{module}.json"
    results.unlink(missing_ok=True)
    options = {"module": module, "folder": str(folder), "mutants": chosen, "results": str(results)}
    environment = {
        **os.environ,
        VARIABLE: json.dumps(options),
        "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT / "tools")]),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",  # a process that has used a GPU cannot be forked
    }
    tests = [str(ROOT / "tests" / f"{name}.py") for name in TARGETS[module]]
    plugins = [part for name in ("randomly", "xdist", "cacheprovider") for part in ("-p", f"no:{name}")]
    # Without the shape checker: slow to set up for hundreds of copies of a function, and a test should see a value.
    unchecked = ["-o", "addopts=--strict-markers"]
    command = [
        str(Path(sys.executable).parent / "pytest"),
        "-q",
        "-p",
        "mutants",
        "-k",
        LEFT_OUT,
        *unchecked,
        *plugins,
        *tests,
    ]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if not results.exists():
        sys.exit(f"{module}: the tests did not run\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    verdicts: dict[str, str] = json.loads(results.read_text(encoding="utf8"))
    alive = [mutant for mutant, verdict in verdicts.items() if verdict != "killed"]
    (WORK / f"{module}.txt").write_text(differences(folder / "lpa_core" / f"{module}.py", alive), encoding="utf8")
    untested = sum(verdict == "no test" for verdict in verdicts.values())
    killed = len(verdicts) - len(alive)
    rate = 100 * killed / len(verdicts)
    drawn = f" drawn of {len(every)} with seed {seed}" if len(chosen) < len(every) else ""
    print(
        f"{module:<12} {killed:4d} of {len(verdicts):4d} mutants{drawn} killed, {rate:.1f} % "
        f"({untested} reached by no test; {time.monotonic() - start:.0f} s)",
        flush=True,
    )
    return rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", metavar="MODULE", help=", ".join(TARGETS))
    parser.add_argument("--sample", type=int, help="test so many mutants of each module")
    parser.add_argument("--seed", type=int, default=0, help="which ones")
    parser.add_argument("--least", type=float, default=85, help="percentage to be killed in each module (85)")
    arguments = parser.parse_args()
    if unknown := set(arguments.modules) - set(TARGETS):
        parser.error(f"MODULE must be one of {', '.join(TARGETS)}; got {', '.join(sorted(unknown))}")
    rates = {name: campaign(name, arguments.sample, arguments.seed) for name in arguments.modules or TARGETS}
    low = [name for name, rate in rates.items() if rate < arguments.least]
    if low:
        sys.exit(f"fewer than {arguments.least:g} % killed in {', '.join(low)}; see _build/mutants/*.txt")


if __name__ == "__main__":
    main()
