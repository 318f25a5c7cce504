"""A pytest plugin beside nbval: it keeps the outputs of the fresh run that nbval compared with the stored ones.

nbval compares text. With the outputs kept, a test can compare the pictures too, and no chapter is run twice for that.
A notebook of which every cell was run is written as ``FOLDER/NAME``, FOLDER being the option ``--keep-outputs``.
"""

import copy
from pathlib import Path

import nbformat
import notebooks
import pytest
from nbval.plugin import IPyNbCell


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--keep-outputs", type=Path, help="folder for the notebooks with their fresh outputs")


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    if not isinstance(item, IPyNbCell):
        return
    outputs = item.parent.__dict__.setdefault("fresh_outputs", {})
    outputs[item.cell_num] = item.test_outputs
    if nextitem is None or nextitem.parent is not item.parent:
        keep(item.path, item.parent.nb, outputs, item.config.getoption("keep_outputs"))


def keep(path: Path, notebook: nbformat.NotebookNode, outputs: dict[int, list | None], folder: Path | None) -> None:
    fresh = copy.deepcopy(notebook)
    cells = notebooks.code_cells(fresh)
    found = [outputs.get(number) for number in range(len(cells))]
    if folder is None or any(output is None for output in found):
        return
    for cell, output in zip(cells, found, strict=True):
        cell.outputs = output
    folder.mkdir(parents=True, exist_ok=True)
    notebooks.write(fresh, folder / path.name)
