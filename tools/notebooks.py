"""Run the chapters. ``stage`` runs them for the book, ``store`` keeps the outputs in the sources, ``check`` compares
the stored outputs with a fresh run, ``run`` only runs them, with whatever Python this is.

A chapter is a notebook named in ``_toc.yml``. Its code is run again only when something it depends on has changed.
"""

import argparse
import base64
import copy
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import machine
import nbformat
import yaml
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent

# What every kernel of a quick run is given, so that its numbers depend neither on the machine's cores nor on who
# started it. The three capability limits keep machines with wider vector units on the instructions that all have.
QUICK_ENVIRONMENT = {
    "LPA_SCALE": "quick",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_CBWR": "COMPATIBLE",
    "CUDA_VISIBLE_DEVICES": "",
    "PYTHONHASHSEED": "0",
    "TQDM_DISABLE": "1",
    # For speed alone: glibc would give the memory of every large tensor back and ask for it anew.
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "8000000000",
}
# The chapters that take longest, begun first where their times are not known: else one would run alone at the end.
LONG = ("04", "11", "12")
# Seconds a cell may take at scale quick on a busy machine. Without a limit a stuck one would wait for ever.
TIMEOUT = 900
METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def toc_files(root: Path) -> list[Path]:
    """The source files that ``_toc.yml`` names, in its order, relative to ``root``."""

    def named(node: Any) -> Iterator[str]:
        if isinstance(node, dict):
            yield from (node[key] for key in ("root", "file") if key in node)
            for value in node.values():
                yield from named(value)
        elif isinstance(node, list):
            for value in node:
                yield from named(value)

    files = []
    for name in named(yaml.safe_load((root / "_toc.yml").read_text(encoding="utf8"))):
        found = [path for path in (Path(f"{name}.ipynb"), Path(f"{name}.md")) if (root / path).is_file()]
        if len(found) != 1:
            raise SystemExit(f"_toc.yml names {name!r}: one of {name}.ipynb and {name}.md must exist; found {found}")
        files += found
    return files


def chapters(root: Path = ROOT, only: Sequence[str] = ()) -> list[Path]:
    """The notebooks of the book, relative to ``root``; ``only`` keeps those whose name begins with one of it."""
    found = [path for path in toc_files(root) if path.suffix == ".ipynb"]
    unknown = [start for start in only if not any(path.name.startswith(start) for path in found)]
    if unknown:
        raise SystemExit(f"no chapter begins with {unknown}; there are {[path.stem for path in found]}")
    return [path for path in found if not only or path.name.startswith(tuple(only))]


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def kernel_environment(scale: str, root: Path) -> dict[str, str]:
    """What to add to the environment of the kernels. A settings folder of our own keeps a user's start-up files out."""
    settings = root / "_build" / "ipython"
    (settings / "profile_default").mkdir(parents=True, exist_ok=True)
    (settings / "profile_default" / "ipython_config.py").write_text("c.HistoryManager.enabled = False\n")
    (settings / "profile_default" / "ipython_kernel_config.py").write_text("c.IPKernelApp.log_level = 'ERROR'\n")
    own = QUICK_ENVIRONMENT if scale == "quick" else {"LPA_SCALE": scale}
    return {**own, "IPYTHONDIR": str(settings), "JUPYTER_PREFER_ENV_PATH": "1"}


def key(notebook: nbformat.NotebookNode, scale: str, root: Path) -> str:
    """A hash of all that decides a chapter's outputs: its code, the package, the data files beside it, the versions."""
    prose = {".ipynb", ".md", ".bib", ".css", ".svg", ".pyc"}
    beside = sorted(
        path
        for path in (root / "book").rglob("*")
        if path.suffix not in prose and "_ext" not in path.parts and path.name != "opening.py"
    )
    return fingerprint(root, [scale, *(cell.source for cell in code_cells(notebook))], beside)


def fingerprint(root: Path, words: Sequence[str], files: Sequence[Path]) -> str:
    """A hash of ``words``, of the contents of ``files``, and of what every output depends on: package and versions."""
    digest = hashlib.sha256(repr([sys.version, QUICK_ENVIRONMENT, *words]).encode())
    package = sorted(path for path in (root / "lpa_core").rglob("*") if path.suffix != ".pyc")
    for file in [root / "requirements.txt", *package, *files]:
        if file.is_file():
            digest.update(str(file.relative_to(root)).encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


def execute(source: Path, target: Path, folder: Path, timeout: int) -> float:
    """Run one notebook in a fresh kernel of this Python, working in ``folder``; seconds it took."""
    import papermill

    started = time.perf_counter()
    options = {"execution_timeout": timeout, "shutdown_kernel": "immediate", "progress_bar": False}
    papermill.execute_notebook(source, target, kernel_name="python3", cwd=folder, **options)
    return time.perf_counter() - started


def add_to_environment(environment: dict[str, str]) -> None:
    os.environ.update(environment)


def execute_all(
    jobs: dict[Path, tuple[Path, Path, Path]], *, environment: dict[str, str], processes: int, timeout: int
) -> dict[Path, float]:
    """Run ``{chapter: (source, target, folder)}``; seconds of each. Every failure is shown before it gives up.

    Only the kernels get ``environment``: in this process it would change the numbers of whatever runs here afterwards.
    """
    seconds, failed = {}, []
    # Each chapter has a kernel of its own: nothing of one run is left for the next.
    spawn = get_context("spawn")
    with ProcessPoolExecutor(processes, spawn, initializer=add_to_environment, initargs=(environment,)) as pool:
        running = {pool.submit(execute, *job, timeout): chapter for chapter, job in jobs.items()}
        for done in as_completed(running):
            chapter = running[done]
            error = done.exception()
            if error is None:
                seconds[chapter] = done.result()
                print(f"  {chapter}  {seconds[chapter]:.1f} s", flush=True)
            else:
                failed.append(chapter)
                print(f"  {chapter}  FAILED\n{error}", flush=True)
    if failed:
        raise SystemExit(f"failed: {', '.join(map(str, failed))}")
    return seconds


def graft(source: nbformat.NotebookNode, executed: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The source notebook with the outputs of the executed one."""
    result = copy.deepcopy(source)
    for cell, ran in zip(code_cells(result), code_cells(executed), strict=True):
        assert cell.source == ran.source, "the executed notebook holds other code than its source"
        cell.outputs, cell.execution_count = joined(ran.outputs), ran.execution_count
    if "widgets" in executed.metadata:
        result.metadata["widgets"] = executed.metadata["widgets"]
    return result


def joined(outputs: list[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """Outputs with neighbouring pieces of one stream made one: where a kernel cuts them is chance."""
    result: list[nbformat.NotebookNode] = []
    for output in copy.deepcopy(outputs):
        last = result[-1] if result else None
        if last is not None and output.output_type == "stream" == last.output_type and output.name == last.name:
            last.text += output.text
        else:
            result.append(output)
    return result


def cleaned(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """A notebook as it is committed: outputs and counts stay; widget state, times and versions go."""
    result = copy.deepcopy(notebook)
    result.metadata = nbformat.from_dict(METADATA)
    for cell in result.cells:
        for volatile in ("papermill", "execution", "collapsed", "scrolled"):
            cell.metadata.pop(volatile, None)
    return result


def longest_first(paths: Sequence[Path], times: dict[str, dict[str, Any]]) -> list[Path]:
    known = {path: times.get(str(path), {}).get("seconds", 0) for path in paths}
    return sorted(paths, key=lambda path: (-known[path], not path.name.startswith(LONG), path.name[:2] != LONG[0]))


def executed_chapters(
    root: Path, only: Sequence[str], *, scale: str, processes: int, timeout: int, again: bool
) -> dict[Path, nbformat.NotebookNode]:
    """The chapters with fresh outputs; those whose key is unchanged come from ``_build/executed`` unless ``again``."""
    build = root / "_build"
    times_file = build / "times.json"
    times = json.loads(times_file.read_text()) if times_file.exists() else {}
    sources = {path: nbformat.read(root / path, as_version=4) for path in chapters(root, only)}
    keys = {path: key(notebook, scale, root) for path, notebook in sources.items()}
    jobs = {}
    for path in longest_first(list(sources), times):
        target = build / "executed" / path
        if again or not target.exists() or target.with_suffix(".key").read_text() != keys[path]:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.with_suffix(".key").write_text("")  # until it has run to its end
            jobs[path] = (root / path, target, stage_folder(root) / path.parent)
    print(f"{len(jobs)} of {len(sources)} chapters to run, {processes} at once", flush=True)
    environment = kernel_environment(scale, root)
    conditions = {"processes": min(processes, len(jobs)), "busy": machine.is_busy()}
    conditions["machine"] = machine.described(gpu=scale == "full")
    for path, seconds in execute_all(jobs, environment=environment, processes=processes, timeout=timeout).items():
        jobs[path][1].with_suffix(".key").write_text(keys[path])
        times[str(path)] = {"seconds": round(seconds, 1), "scale": scale, **conditions}
    known = {str(path) for path in chapters(root)}
    if jobs:
        times_file.write_text(json.dumps({k: times[k] for k in sorted(times) if k in known}, indent=1) + "\n")
    return {
        path: graft(notebook, nbformat.read(build / "executed" / path, as_version=4))
        for path, notebook in sources.items()
    }


def stage_folder(root: Path) -> Path:
    return root / "_build" / "stage"


def fresh_folder(root: Path) -> Path:
    return root / "_build" / "fresh"


def fill_stage(root: Path) -> None:
    """A fresh copy of the book's sources: what the toc names and what lies beside it, other notebooks left out."""
    stage = stage_folder(root)
    shutil.rmtree(stage, ignore_errors=True)
    shutil.copytree(
        root / "book", stage / "book", ignore=shutil.ignore_patterns("*.ipynb", ".ipynb_checkpoints", "__pycache__")
    )
    extra = [root / name for name in ("_config.yml", "_toc.yml", "favicon.svg", "repository.txt")]
    for path in {*extra, *(root / path for path in toc_files(root))}:
        if path.exists():
            (stage / path.relative_to(root)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, stage / path.relative_to(root))


def stage_opening(root: Path) -> None:
    """The figure of the first page, drawn anew when its code, ``opening.py``, or the package has changed."""
    code, target = stage_folder(root) / "book" / "opening.py", root / "_build" / "executed" / "opening.png"
    if not code.exists():
        return
    mark, own = target.with_suffix(".key"), fingerprint(root, [], [code])
    if not target.exists() or not mark.exists() or mark.read_text() != own:
        target.parent.mkdir(parents=True, exist_ok=True)
        path = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
        environment = {**os.environ, **QUICK_ENVIRONMENT, "PYTHONPATH": path}
        subprocess.run([sys.executable, str(code), str(target)], cwd=root, env=environment, check=True)
        target.write_bytes(base64.b64decode(in_256_colours(base64.b64encode(target.read_bytes()).decode())))
        mark.write_text(own)
    shutil.copy(target, code.with_suffix(".png"))


def write(notebook: nbformat.NotebookNode, path: Path) -> None:
    """Write a notebook beside its place and rename it there."""
    with tempfile.NamedTemporaryFile("w", encoding="utf8", dir=path.parent, suffix=".part", delete=False) as file:
        nbformat.write(notebook, file)
    os.chmod(file.name, 0o644)
    os.replace(file.name, path)


def lighter(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook with a third or less of its pictures' bytes, and no difference to be seen."""
    result = copy.deepcopy(notebook)
    for cell in code_cells(result):
        for output in cell.outputs:
            if "image/png" in output.get("data", {}):
                output.data.update(lightest(output.data.pop("image/png")))
    return result


def lightest(png: str) -> dict[str, str]:
    """A picture in base64 by its media type: 256 colours keep lines and letters sharp, JPEG keeps photographs light."""
    with Image.open(io.BytesIO(base64.b64decode(png))) as picture:
        if picture.mode == "P":  # made so by an earlier call
            return {"image/png": png}
    drawn, photograph = in_256_colours(png), as_jpeg(png)
    is_photograph = len(photograph) < 0.8 * len(drawn)
    return {"image/jpeg": photograph} if is_photograph else {"image/png": drawn}


def in_256_colours(png: str) -> str:
    """A picture in base64 with a palette of its own colours; as it was where that would not be smaller."""
    with Image.open(io.BytesIO(base64.b64decode(png))) as picture:
        flat = picture.convert("RGB")
    packed = io.BytesIO()
    flat.quantize(256, kmeans=4, dither=Image.Dither.NONE).save(packed, "png", optimize=True)
    smaller = base64.b64encode(packed.getvalue()).decode()
    return smaller if len(smaller) < len(png) else png


def as_jpeg(png: str) -> str:
    packed = io.BytesIO()
    with Image.open(io.BytesIO(base64.b64decode(png))) as picture:
        picture.convert("RGB").save(packed, "jpeg", quality=85, optimize=True, progressive=True)
    return base64.b64encode(packed.getvalue()).decode()


def stage(root: Path, only: Sequence[str], *, stored: bool = False, **how: Any) -> None:
    """Run the chapters into ``_build/stage``, the folder that Jupyter Book builds; the sources stay as they are.

    With ``stored`` they are not run and keep the outputs of the sources: for checks after ``check``, which compares.
    """
    fill_stage(root)
    stage_opening(root)
    if stored:
        executed = {path: nbformat.read(root / path, as_version=4) for path in chapters(root, only)}
    else:
        executed = executed_chapters(root, only, **how)
        times = json.loads((root / "_build" / "times.json").read_text(encoding="utf8"))
        ran = {str(path): times[str(path)] for path in executed if str(path) in times}
        (stage_folder(root) / "times.json").write_text(json.dumps(ran, indent=1) + "\n", encoding="utf8")
    for path, notebook in executed.items():
        write(lighter(notebook), stage_folder(root) / path)


def store(root: Path, only: Sequence[str], **how: Any) -> None:
    """Run the chapters again and keep their outputs in the sources."""
    fill_stage(root)
    for path, notebook in executed_chapters(root, only, **{**how, "again": True}).items():
        write(lighter(cleaned(notebook)), root / path)


def nbval(paths: Sequence[Path], root: Path, *, processes: int, timeout: int = TIMEOUT) -> int:
    """Compare the stored outputs of tagged cells with a fresh run; pytest's exit status, 0 for all equal.

    What the fresh run gave is kept in ``_build/fresh``: see ``keep_outputs``.
    """
    with_tools = "import sys; sys.path.insert(0, sys.argv.pop(1)); import pytest; raise SystemExit(pytest.main())"
    options = ["--nbval-lax", "--nbval-current-env", f"--nbval-cell-timeout={timeout}"]
    options += ["-p", "keep_outputs", f"--keep-outputs={fresh_folder(root)}"]
    command = [sys.executable, "-c", with_tools, str(ROOT / "tools")]
    command += ["-c", str(root / "pyproject.toml"), f"--rootdir={root}", *options]
    command += ["-p", "no:randomly", "-p", "no:cacheprovider"]
    for path in paths:
        (fresh_folder(root) / path.name).unlink(missing_ok=True)
    if processes > 1:
        command += ["-n", str(processes), "--dist", "loadfile", "--no-loadscope-reorder"]
    environment = {**os.environ, **kernel_environment("quick", root)}
    command += map(str, longest_first(paths, {}))
    return subprocess.run(command, cwd=root, env=environment, check=False).returncode


def run(root: Path, only: Sequence[str], *, scale: str, processes: int, timeout: int, again: bool) -> None:
    """Run copies of the chapters in a folder of their own, as a reader who opened them elsewhere would."""
    del again
    with tempfile.TemporaryDirectory() as folder:
        book = Path(folder) / "book"
        shutil.copytree(root / "book", book)
        jobs = {path: (book / path.name, book / f"ran-{path.name}", book) for path in chapters(root, only)}
        execute_all(jobs, environment={"LPA_SCALE": scale}, processes=processes, timeout=timeout)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("command", choices=("stage", "store", "check", "run"))
    parser.add_argument("chapters", nargs="*", help="beginnings of names, such as 03; default: all")
    parser.add_argument("--scale", default="quick", choices=("quick", "full"))
    parser.add_argument("--processes", type=int, default=2, help="chapters at once (default: %(default)s)")
    parser.add_argument("--timeout", type=int, help=f"seconds a cell may take (default: {TIMEOUT}; full: no limit)")
    parser.add_argument("--again", action="store_true", help="run chapters even where nothing has changed")
    parser.add_argument("--stored", action="store_true", help="stage: take the stored outputs and run nothing")
    arguments = parser.parse_args()
    timeout = arguments.timeout or (TIMEOUT if arguments.scale == "quick" else 24 * 3600)
    if arguments.command == "check":
        return nbval(chapters(ROOT, arguments.chapters), ROOT, processes=arguments.processes, timeout=timeout)
    command = {"stage": partial(stage, stored=arguments.stored), "store": store, "run": run}[arguments.command]
    command(
        ROOT,
        arguments.chapters,
        scale=arguments.scale,
        processes=1 if arguments.scale == "full" else arguments.processes,  # one at a time on the GPU
        timeout=timeout,
        again=arguments.again,
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
