"""The stepper's Python face: what it holds, what it shows without a script, what it refuses. See test_stepper too."""

import json
import math
import re

import jaxtyping
import pytest
import torch
from bs4 import BeautifulSoup

from lpa_core import widgets
from lpa_core.widgets.step_by_step import TEMPERATURES

LOCAL = torch.tensor([[[0.0, 1.0], [2.0, 0.0]], [[4.0, 0.0], [2.0, 0.0]]])
G, U = torch.tensor([3.0, 5.0]), torch.tensor([2.0, 1.0]).log()
CLASSES = {"cat & <dog>": (2, 0), "it's": (0, 1)}


@pytest.fixture
def as_users_have_it():
    """Without the shape checker that runs in tests alone."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)


def shown(**options):
    return BeautifulSoup(widgets.stepper(LOCAL, G, U, **{"classes": CLASSES, **options}).html(), "html.parser")


def held(page):
    return json.loads(page.select_one(".lpa-stepper")["data-stepper"])


def test_the_bundle_is_plain_html_and_a_line_of_text():
    bundle = widgets.stepper(LOCAL, G, U, classes={"cat": (2, 0), "zebra": (0, 1)})._repr_mimebundle_()
    assert sorted(bundle) == ["text/html", "text/plain"]
    assert bundle["text/plain"] == "<Stepper 'Attention, one step at a time': 2×2 positions, classes cat, zebra>"
    assert len(bundle["text/html"]) < 25_000
    assert re.findall(r"""(?:src|href)=|https?://(?!www\.w3\.org/2000/svg)""", bundle["text/html"]) == []


def test_without_a_script_a_table_shows_the_numbers_of_the_package():
    page = shown(positions=("curtain", "back", "<face>", "floor"))
    rows = [[cell.text for cell in row.select("td")] for row in page.select("tbody tr")]
    assert rows == [
        ["1 curtain", "(0, 4)", "2.1", "0.125"],
        ["2 back", "(1, 0)", "2.8", "0.250"],
        ["3 <face>", "(2, 2)", "3.5", "0.500"],
        ["4 floor", "(0, 0)", "2.1", "0.125"],
    ]
    still = page.select_one(".lpa-stepper-still")
    assert "3. attended vector: (1.25, 1.5). 4. classes: cat & <dog> 73.1%, it's 26.9%." in still.text
    cold = shown(compatibility="dp", temperature=0.5)
    assert cold.select_one("tbody tr").text == "1(0, 4)201.000"


def test_the_sliders_have_even_steps_and_the_numbers_that_were_given():
    stops = held(shown(temperature=0.3))["stops"]
    assert stops["u1"][0] == -3
    assert stops["u1"][-1] == 3
    assert len(stops["u1"]) == 62
    assert pytest.approx(math.log(2)) in stops["u1"]
    assert len(stops["u2"]) == 61
    assert stops["g1"] == [k / 2 for k in range(-20, 21)]
    assert stops["T"] == sorted([*TEMPERATURES, 0.3])
    wide = held(BeautifulSoup(widgets.stepper(LOCAL, 7 * G, U, classes=CLASSES).html(), "html.parser"))["stops"]
    assert [wide["g2"][0], wide["g2"][-1]] == [-35, 35]


def test_names_cannot_become_markup():
    page = shown(title="A <b>title</b> & more", positions=("a", "b", "<i>c</i>", "d'"))
    assert page.select("b, dog, .lpa-stepper i") == []
    assert page.select_one(".lpa-stepper")["aria-label"] == "A <b>title</b> & more"
    assert held(page)["classes"] == list(CLASSES)
    text = widgets.stepper(LOCAL, G, U, classes=CLASSES).html()
    opening = re.search(r"<div class=\"lpa-stepper\".*?<p>", text, re.DOTALL)[0]
    assert re.sub(r"<[^<]+?>", "", opening) == ""


@pytest.mark.usefixtures("as_users_have_it")
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"local": LOCAL[None]}, r"local must be finite and \(2, 2, 2\); got \(1, 2, 2, 2\)"),
        ({"g": torch.zeros(3)}, r"g must be finite and \(2,\); got \(3,\)"),
        ({"u": torch.tensor([0.0, math.nan])}, r"u must be finite and \(2,\)"),
        ({"classes": {"cat": (1, 2)}}, r"classes must be at least two; got \['cat'\]"),
        (
            {"classes": {"cat": (1, 2), "dog": (1, 2, 3)}},
            r"two finite weights for each class; got \(1, 2, 3\) for 'dog'",
        ),
        ({"classes": {"cat": (1, 2), "dog": (1, math.inf)}}, "two finite weights"),
        ({"positions": ["a"]}, r"positions must name the 4 positions, or none; got \['a'\]"),
        ({"compatibility": "uniform"}, "must be 'pc' or 'dp' in a stepper; got 'uniform'"),
        ({"compatibility": "dot"}, "compatibility must be one of 'pc', 'dp'"),
        ({"temperature": 0}, "temperature must be a finite number above 0; got 0"),
    ],
)
def test_what_it_cannot_show_is_refused(changed, message):
    given = {"local": LOCAL, "g": G, "u": U, "classes": CLASSES, **changed}
    with pytest.raises(ValueError, match=message):
        widgets.stepper(**given)
