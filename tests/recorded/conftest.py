import json

import pytest
from recording import record, write
from runs import tiny_run
from threads import single_thread


@pytest.fixture(scope="session")
def values(tmp_path_factory):
    """The record of a real run, as its file holds it."""
    folder = tmp_path_factory.mktemp("runs")
    with single_thread():
        tiny_run(folder / "run")
    return json.loads(write(record(folder / "run", "tiny"), folder).read_text())
