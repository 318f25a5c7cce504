"""An explorer: its plain face holds every choice and asks nobody for anything; its live face computes when asked."""

import base64
import io
import json
import re
import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest
from bs4 import BeautifulSoup
from PIL import Image

from lpa_core import plotting
from lpa_core.widgets.assets import controls_style
from lpa_core.widgets.explorer import Explorer
from lpa_core.widgets.frames import COLOURS, Control, Frame, Panel, address, number, png

SIGNED = (-2.0, 2.0)


def square(level):
    return np.full((6, 6, 3), level, dtype=np.uint8)


def draw(colour, shade):
    """A fixed picture beside one that depends on both choices."""
    panels = [
        Panel(square(9), "The same always."),
        Panel(square(colour + shade), f"Grey {colour + shade}.", "grey", SIGNED),
    ]
    return Frame(panels, f"Grey {colour} and {shade}: <b>&'\"")


def controls(**changes):
    colours = Control(label="Colour", options={"black": 0, "grey": 100, "white": 200}, start="grey")
    return [colours, Control(label="Shade", options={"none": 0, "some": 25}, slider=True, **changes)]


@pytest.fixture
def explorer():
    return Explorer("Greys & <more>", controls(), draw)


@pytest.fixture
def page(explorer):
    return BeautifulSoup(explorer.html(), "html.parser")


def data(page):
    return json.loads(page.select_one(".lpa-explorer")["data-frames"])


def test_the_bundle_is_plain_html_and_a_line_of_text(explorer):
    bundle = explorer._repr_mimebundle_()
    assert sorted(bundle) == ["text/html", "text/plain"]
    assert bundle["text/plain"] == "<Explorer 'Greys & <more>': 3 Colour × 2 Shade>"


def test_ipython_shows_the_bundle_and_nothing_else(explorer):
    from IPython.core.formatters import DisplayFormatter

    shown, about = DisplayFormatter().format(explorer)
    assert sorted(shown) == ["text/html", "text/plain"]
    assert about == {}


def test_the_first_choice_stands_in_the_html_itself(page):
    images = page.select("figure img")
    assert [image["alt"] for image in images] == ["The same always.", "Grey 100."]
    shown = Image.open(io.BytesIO(base64.b64decode(images[1]["src"].partition(",")[2]))).convert("RGB")
    assert np.array_equal(np.asarray(shown), square(100))
    assert page.select_one("[role=status]").text == "Grey 100 and 0: <b>&'\""
    assert page.select_one(".lpa-bar:not([hidden])").text == "\u22122.02.0"


def test_every_choice_is_held_once_in_the_order_of_the_controls(page):
    held = data(page)
    assert held["names"] == [["black", "grey", "white"], ["none", "some"]]
    assert [row[-1] for row in held["frames"]] == [
        f"Grey {colour} and {shade}: <b>&'\"" for colour in (0, 100, 200) for shade in (0, 25)
    ]
    assert len(held["panels"]) == 7, "one fixed picture and six others"
    assert [held["panels"][row[1]][1] for row in held["frames"]] == [f"Grey {n}." for n in (0, 25, 100, 125, 200, 225)]


def test_every_control_has_a_label_of_its_own_and_there_are_no_ids(page):
    assert page.select("[id], [for], [aria-labelledby], [aria-controls]") == []
    labels = [(label.contents[0], label.find(["input", "select"]).name) for label in page.select("label")]
    assert labels == [("Colour", "select"), ("Shade", "input")]
    assert page.select_one("select option[selected]").text == "grey"
    assert page.select_one("input")["aria-valuetext"] == "none"


def test_it_loads_nothing_and_is_off_until_its_script_runs(explorer, page):
    assert re.findall(r"https?:|\b(?:src|href)=(?!\"data:)", explorer.html().split("<script>")[0]) == []
    assert page.select("script[src], link") == []
    assert all(control.has_attr("disabled") for control in page.select("input, select"))
    assert "run this cell" in page.select_one(".lpa-note").text


def test_names_and_texts_cannot_become_markup(explorer, page):
    assert page.select("b, more") == []
    assert page.select_one(".lpa-explorer")["aria-label"] == "Greys & <more>"
    # Who strips tags with a pattern, as a search index does, finds no piece of the data left.
    opening = re.search(r"<div class=\"lpa-explorer\".*?<p>", explorer.html(), re.DOTALL)[0]
    assert re.sub(r"<[^<]+?>", "", opening) == ""


def test_a_control_with_one_option_is_not_shown():
    page = BeautifulSoup(
        Explorer("One", [Control(label="Only", options={"this": 1}), *controls()], lambda _, *c: draw(*c)).html(),
        "html.parser",
    )
    assert [label.contents[0] for label in page.select("label")] == ["Colour", "Shade"]
    assert data(page)["names"][0] == ["black", "grey", "white"]


def test_equal_explorers_give_equal_html():
    assert Explorer("One", controls(), draw).html() == Explorer("One", controls(), draw).html()


def test_a_picture_is_a_small_palette():
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype(np.uint8)
    image = Image.open(io.BytesIO(png(noise)))
    assert image.mode == "P"
    assert len(image.getcolors()) <= COLOURS
    few = (noise // 128) * 128
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png(few))).convert("RGB")), few)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.0062, "0.0062"), (0.123, "0.12"), (-2.0, "\u22122.0"), (37.4, "37"), (3e-7, "3.0e\u221207")],
)
def test_numbers_have_two_digits(value, text):
    assert number(value) == text


# ---- the live face ----


def test_the_live_face_computes_only_what_is_chosen():
    asked = []

    def note(*values):
        asked.append(values)
        return draw(*values)

    live = Explorer("Greys", controls(live={"none": 0, "some": 25, "more": 50}), note).live()
    _, colour, shade, face = live.children
    assert asked == [(100, 0)]
    shade.value = 2
    colour.value = 0
    assert asked == [(100, 0), (100, 50), (0, 50)]
    page = BeautifulSoup(face.value, "html.parser")
    assert [image["alt"] for image in page.select("img")] == ["The same always.", "Grey 50."]
    assert page.select_one("[role=status]").text.startswith("Grey 0 and 50")
    assert page.select("script") == []
    assert [name for name, _ in shade.options] == ["none", "some", "more"]


def test_the_live_controls_are_those_of_the_page(explorer):
    import ipywidgets

    _, colour, shade, _ = explorer.live().children
    assert isinstance(colour, ipywidgets.Dropdown)
    assert isinstance(shade, ipywidgets.SelectionSlider)
    assert (colour.description, colour.label) == ("Colour", "grey")


def test_ipywidgets_is_loaded_by_the_live_face_alone():
    code = "import sys; from lpa_core import widgets; sys.exit('ipywidgets' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_without_ipywidgets_the_live_face_says_what_to_install(explorer, monkeypatch):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    with pytest.raises(ImportError, match=r"lpa-core\[widgets\]"):
        explorer.live()


# ---- what is refused ----


def test_no_controls_and_no_options_are_refused():
    with pytest.raises(ValueError, match="at least one control"):
        Explorer("None", [], draw)
    with pytest.raises(ValueError, match="at least one option"):
        Control(label="Empty", options={})
    with pytest.raises(ValueError, match="must be one of a; got 'b'"):
        Control(label="Start", options={"a": 1}, start="b")


@pytest.mark.parametrize(
    "frame",
    [Frame([], "No panel."), Frame([Panel(square(0), "Black.")], " "), Frame([Panel(square(0), " ")], "No alt.")],
    ids=["no panel", "no text", "no alternative text"],
)
def test_a_frame_that_says_nothing_is_refused(frame):
    with pytest.raises(ValueError, match="must have panels, alternative texts and a text"):
        Explorer("Mute", controls(), lambda *_: frame).html()


def test_frames_of_different_sizes_are_refused():
    def uneven(colour, shade):
        return Frame([Panel(square(0), "Black.")] * (1 + shade // 25), "One or two.")

    with pytest.raises(ValueError, match="as many panels as the first"):
        Explorer("Uneven", controls(), uneven).html()


@pytest.mark.parametrize(("signed", "colours"), [(0, plotting.SEQUENTIAL), (1, plotting.DIVERGING)])
def test_the_bars_under_maps_have_the_colours_of_the_maps(signed, colours):
    mixed = mpl.colormaps[colours](np.linspace(0, 1, 9))[:, :3] * plotting.ALPHA + 0.5 * (1 - plotting.ALPHA)
    gradient = ",".join(mpl.colors.to_hex(colour) for colour in mixed)
    assert f".lpa-bar-{signed}{{border-image:linear-gradient(to right,{gradient}) 1}}" in controls_style()


def test_a_photograph_is_held_as_webp_and_a_drawing_as_png():
    noise = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    photograph = np.asarray(Image.fromarray(noise).resize((200, 200), Image.Resampling.BICUBIC))
    for picture, kind in ((square(100), "png"), (photograph, "webp")):
        about, _, held = address(picture).partition(",")
        assert about == f"data:image/{kind};base64"
        shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(held))).convert("RGB"), dtype=float)
        assert np.abs(shown - picture).mean() < 8
        assert len(held) * 3 / 4 < len(png(picture)) + 3
