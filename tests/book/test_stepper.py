"""The stepper in Chromium: it computes what the package computes, by mouse, keyboard and address, and asks nobody."""

import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import browser
import pytest
import torch
from selenium import webdriver
from selenium.webdriver.common.keys import Keys

from lpa_core import attention, widgets

pytestmark = pytest.mark.built

LOCAL = torch.tensor([[[0.0, 1.0], [2.0, 0.0]], [[4.0, 0.0], [2.0, 0.0]]])
G, U = torch.tensor([3.0, 5.0]), torch.tensor([2.0, 1.0]).log()
CLASSES = {"cat": (2, 0), "zebra": (0, 1), "</script><b>": (-1, 0.5)}
POSITIONS = ("curtain", "back", "face", "floor")
PAGE = """<!doctype html><html lang="en"><meta charset="utf8"><title>steps</title><link rel="icon" href="data:,">
<meta name="viewport" content="width=device-width"><body><h1>Steps</h1>{}<div style="height: 3000px"></div>{}</body>"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        driver = browser.start(Path(profile))
        yield driver
        driver.quit()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("stepper") / "page.html"
    one = widgets.stepper(LOCAL, G, U, classes=CLASSES, positions=POSITIONS)
    two = widgets.stepper(-LOCAL, G, U, classes=CLASSES, compatibility="dp", temperature=4.0)
    file.write_text(PAGE.format(one.html(), two.html()), encoding="utf8")
    return file.as_uri()


@pytest.fixture
def fresh(chromium: Any, address: str) -> Any:
    """Open the page with a state in its address; the two steppers."""

    def opened(state: str = "") -> list[Any]:
        chromium.get("about:blank")
        chromium.get_log("browser")
        chromium.get(address + state)
        return chromium.find_elements("css selector", ".lpa-stepper")

    return opened


def asked(chromium: Any, root: Any, what: str) -> Any:
    return chromium.execute_script(f"return arguments[0].stepper.{what}", root)


def press(chromium: Any, *keys: str) -> None:
    webdriver.ActionChains(chromium).send_keys(*keys).perform()


def same(found: dict[str, list[float]], local: torch.Tensor, state: dict[str, Any]) -> None:
    """What the page computed is what the package computes, with the numbers of its state."""
    local = local.double()[None]
    u, g = (torch.tensor([state[f"{name}{k}"] for k in (1, 2)], dtype=torch.float64) for name in "ug")
    dp = state["kind"] == "dp"
    scores = attention.dot_scores(local, g[None]) if dp else attention.parametrised_scores(local, g[None], u)
    vector, weights, _ = attention.attend(local, scores / state["T"])
    logits = torch.tensor(list(CLASSES.values()), dtype=torch.float64) @ vector[0]
    wanted = {"scores": scores, "weights": weights, "vector": vector, "logits": logits, "shares": logits.softmax(0)}
    for name, tensor in wanted.items():
        assert found[name] == pytest.approx(tensor.flatten().tolist(), rel=1e-12, abs=1e-12), name


STATES = (
    "",
    "#stepper&kind=dp",
    "#stepper&kind=dp&g1=-2&g2=0.5&T=4",
    "#stepper&step=4&u1=-3&u2=2.9&g1=10&g2=-10&T=0.0625",
    "#stepper&step=2&u1=0.4&u2=-0.1&T=16",
)


@pytest.mark.parametrize("state", STATES)
def test_it_computes_what_the_package_computes(state, fresh, chromium):
    one, two = fresh(state)
    for name, value in [pair.split("=") for pair in state.split("&")[1:]]:
        assert str(asked(chromium, one, "state")[name]).removesuffix(".0") == value
    same(asked(chromium, one, "values()"), LOCAL, asked(chromium, one, "state"))
    assert asked(chromium, two, "state")["T"] == 4, "another's state is not its own"
    same(asked(chromium, two, "values()"), -LOCAL, asked(chromium, two, "state"))


def test_what_it_shows_is_what_it_computed(fresh, chromium):
    one, _ = fresh()
    assert one.find_elements("css selector", "table, .lpa-stepper-still") == []
    seen = []
    for step in range(5):
        (panel,) = one.find_elements("css selector", ".lpa-stepper-panel > div:not([hidden])")
        formula = one.find_element("css selector", ".lpa-stepper-formula").text
        seen.append(
            (panel.get_property("innerText").split(), formula, one.find_element("css selector", "[role=status]").text)
        )
        assert one.find_element("css selector", "[aria-current=step]").text.startswith(("Vectors", str(step)))
        if step < 4:
            one.find_element("xpath", ".//button[text()='Next']").click()
    assert not one.find_element("xpath", ".//button[text()='Next']").is_enabled()
    scores, weights, classes = seen[1], seen[2], seen[4]
    assert [word for word in scores[0] if "." in word] == ["2.08", "2.77", "3.47", "2.08"]
    assert "= 0.693 × (2 + 3) + 0 × (2 + 5) = 3.47" in scores[1].replace("\n", "")
    assert scores[2] == "Step 1 of 4, scores: the highest is 3.47, at position 3 (face)."
    assert [word for word in weights[0] if "." in word] == ["0.125", "0.250", "0.500", "0.125"]
    assert "8 / 64 = 0.125" in weights[1]
    assert "= 0.125 × (0, 4) + 0.250 × (1, 0) + 0.500 × (2, 2) + 0.125 × (0, 0)" in seen[3][1]
    assert seen[3][2].endswith("the attended vector is (1.25, 1.5).")
    assert "cat: 2 × 1.25 + 0 × 1.5 = 2.5" in classes[1]
    assert "</script><b>: −1 × 1.25 + 0.5 × 1.5 = −0.5" in classes[1]
    assert one.find_elements("css selector", ".lpa-stepper-formula b") == []
    heavy = "return [...arguments[0].querySelectorAll('.lpa-stepper-cell')].map(c => c.style.getPropertyValue('--w'))"
    assert [float(w) for w in chromium.execute_script(heavy, one)] == [0.125, 0.25, 0.5, 0.125]


def test_every_control_is_moved_by_the_keyboard(fresh, chromium):
    one, _ = fresh()
    first = one.find_element("xpath", ".//button[text()='Vectors']")
    chromium.execute_script("arguments[0].focus()", first)
    for step, key in ((1, Keys.ARROW_RIGHT), (2, Keys.ARROW_DOWN), (1, Keys.ARROW_LEFT), (0, Keys.ARROW_UP)):
        press(chromium, key)
        assert asked(chromium, one, "state")["step"] == step
        current = chromium.execute_script("return document.activeElement.getAttribute('aria-current')")
        assert current == "step", "the focus goes along"
    press(chromium, *[Keys.TAB] * 4, Keys.ENTER)
    assert asked(chromium, one, "state")["step"] == 4
    press(chromium, Keys.ARROW_LEFT, Keys.ARROW_LEFT)

    radios = one.find_elements("css selector", "input[type=radio]")
    chromium.execute_script("arguments[0].focus()", radios[0])
    sliders = one.find_elements("css selector", "input[type=range]")
    assert [slider.accessible_name for slider in sliders] == [
        *("u1, channel 1", "u2, channel 2", "g1, channel 1", "g2, channel 2", "temperature T")
    ]
    for slider, name in zip(sliders, ("u1", "u2", "g1", "g2", "T"), strict=True):
        press(chromium, Keys.TAB)
        assert chromium.execute_script("return document.activeElement === arguments[0]", slider)
        told = []
        for key in (Keys.HOME, Keys.ARROW_RIGHT, Keys.END):
            press(chromium, key)
            state = asked(chromium, one, "state")
            assert float(slider.get_attribute("aria-valuetext").replace("−", "-")) == pytest.approx(
                state[name], rel=0.01
            )
            same(asked(chromium, one, "values()"), LOCAL, state)
            told.append(state[name])
        assert told[0] < told[1] < told[2]
    press(chromium, Keys.TAB, Keys.SPACE)  # Reset
    assert asked(chromium, one, "state") == pytest.approx(
        {"step": 0, "kind": "pc", "u1": 0.6931472, "u2": 0, "g1": 3, "g2": 5, "T": 1}
    )
    chromium.execute_script("arguments[0].focus()", radios[0])
    press(chromium, Keys.ARROW_DOWN)
    assert asked(chromium, one, "state")["kind"] == "dp"
    assert [slider.is_enabled() for slider in sliders] == [False, False, True, True, True], "dp has no u"


def test_the_state_stands_in_the_address_and_comes_back(fresh, chromium, address):
    _, two = fresh()
    two.find_element("xpath", ".//button[text()='3 Vector']").click()
    slider = two.find_elements("css selector", "input[type=range]")[2]
    chromium.execute_script("arguments[0].focus()", slider)
    press(chromium, Keys.HOME)
    chromium.execute_async_script("setTimeout(arguments[0], 500)")
    assert chromium.current_url == f"{address}#stepper-2&step=3&g1=-10"
    one, two = fresh("#stepper-2&step=3&g1=-10")
    assert (asked(chromium, two, "state")["step"], asked(chromium, two, "state")["g1"]) == (3, -10)
    assert (asked(chromium, one, "state")["step"], asked(chromium, one, "state")["g1"]) == (0, 3)
    assert chromium.execute_script("return scrollY") > 1000, "it leads to the one it is about"
    chromium.execute_script("location.hash = '#stepper&step=2&kind=dp'")  # a link within the page
    chromium.execute_async_script("setTimeout(arguments[0], 50)")
    assert (asked(chromium, one, "state")["step"], asked(chromium, one, "state")["kind"]) == (2, "dp")
    two.find_element("xpath", ".//button[text()='Reset']").click()
    chromium.execute_async_script("setTimeout(arguments[0], 500)")
    assert chromium.current_url == f"{address}#stepper-2"


@pytest.mark.parametrize("state", ["&step=77&kind=cosine", "&step=-3&u1=1e99&T=-1", "&step=x&T=&g1=%E0%A4%A", "=&&="])
def test_an_address_that_makes_no_sense_does_no_harm(state, fresh, chromium):
    one, _ = fresh("#stepper" + state)
    held = asked(chromium, one, "state")
    assert held["step"] in range(5)
    assert held["kind"] == "pc"
    same(asked(chromium, one, "values()"), LOCAL, held)
    assert [entry for entry in chromium.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_it_asks_nobody_and_fits_a_phone(fresh, chromium, address):
    browser.resize(chromium, 390, phone=True)
    try:
        for step in range(5):
            fresh(f"#stepper&step={step}&u1=-1.1&u2=2.7&g1=-9.5&g2=-8.5&T=0.0625")
            assert chromium.execute_script("return document.documentElement.scrollWidth") <= 390
    finally:
        browser.resize(chromium, 1280)
    urls = chromium.execute_script("return performance.getEntriesByType('resource').map(entry => entry.name)")
    assert [url for url in urls if not url.startswith("data:")] == []


def test_who_wants_no_motion_gets_none(fresh, chromium):
    moving = """return [...arguments[0].querySelectorAll("*")].some(e => {
        const style = getComputedStyle(e);
        return style.animationName !== "none" || parseFloat(style.transitionDuration) > 0;
    })"""
    assert chromium.execute_script(moving, fresh()[0])
    reduced = {"features": [{"name": "prefers-reduced-motion", "value": "reduce"}]}
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", reduced)
    try:
        assert not chromium.execute_script(moving, fresh()[0])
    finally:
        chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_without_a_script_the_numbers_are_there(chromium, address):
    chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        chromium.get("about:blank")
        chromium.get(address)
        rows = chromium.find_elements("css selector", ".lpa-stepper-still tbody tr")
        assert [row.text.split()[-1] for row in rows[:4]] == ["0.125", "0.250", "0.500", "0.125"]
    finally:
        chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_the_steps_of_all_controls_change_what_is_shown(fresh, chromium):
    one, _ = fresh("#stepper&step=2&kind=dp")
    states = [one.text]
    for slider in one.find_elements("css selector", "input[type=range]:enabled"):
        chromium.execute_script("arguments[0].focus()", slider)
        press(chromium, Keys.ARROW_RIGHT)
        states.append(one.text)
    assert all(before != after for before, after in itertools.pairwise(states))
