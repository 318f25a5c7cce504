import json
from pathlib import Path

import pytest
from recorded.literature import read_literature

FILE = Path(__file__).parents[2] / "book" / "results" / "literature.json"


def test_every_published_number_of_the_book_names_its_source():
    found = read_literature(FILE)
    assert found
    assert all(entry.title and entry.url.startswith("https://") for entry in found)
    keys = [(entry.network, entry.data, entry.source) for entry in found]
    assert len(keys) == len({*keys})


def test_the_papers_gain_is_the_difference_of_its_two_numbers():
    paper = {entry.network: entry.error for entry in read_literature(FILE) if entry.source == "paper"}
    assert paper["VGG"] - paper["att3, pc"] == pytest.approx(7.65)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v["entries"][0].update(source="hearsay"), "entry 1: source 'hearsay' must be listed"),
        (lambda v: v["entries"][1].pop("source"), "entry 2: fields: source missing"),
        (lambda v: v["entries"][0].update(note="best of ten"), "entry 1: fields: unknown note"),
        (lambda v: v["entries"][2].update(error=0.93e3), "entry 3: error must be between 0 and 100"),
        (lambda v: v["sources"]["paper"].pop("url"), "must be listed with a title and an address"),
        (lambda v: v["sources"].update(blog={"title": "x", "url": "https://x"}), "sources without a number: blog"),
        (lambda v: v.update(format=2), "format must be 1"),
    ],
)
def test_a_number_without_a_source_is_refused(tmp_path, change, message):
    values = json.loads(FILE.read_text())
    change(values)
    (tmp_path / "literature.json").write_text(json.dumps(values))
    with pytest.raises(ValueError, match=message):
        read_literature(tmp_path / "literature.json")
