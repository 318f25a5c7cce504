"""The living networks in Chromium: equal to PyTorch, moved by mouse, keyboard and finger, and asking nobody."""

import functools
import http.server
import importlib.resources
import json
import re
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import browser
import notebooks
import numpy as np
import pytest
import torch
from PIL import Image
from replay import replay, rounded
from selenium import webdriver
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait
from torch import nn

import lpa_core
from lpa_core.data.image_set import normalise
from lpa_core.data.painting import glyphs, handwritten, with_contrast
from lpa_core.widgets.live_network import described, live, script
from lpa_core.widgets.live_network.folding import folded
from lpa_core.widgets.live_network.packing import packed
from lpa_core.widgets.live_network.steps import _Watch, steps_of

pytestmark = pytest.mark.built

HTML = notebooks.ROOT / "_build" / "html"
PICTURES = 200  # for each network
SCENES = ("draw", "occlude", "photograph")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        driver = browser.start(Path(profile))
        driver.execute_cdp_cmd("Network.enable", {})
        driver.set_script_timeout(120)
        yield driver
        driver.quit()


@pytest.fixture(scope="module")
def engine(chromium: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """``engine(network, pictures)``: what the page's engine answers, picture by picture."""
    page = tmp_path_factory.mktemp("engine") / "engine.html"
    page.write_text(f"<!doctype html><title>engine</title><link rel=icon href=data:,><script>{script()}</script>")

    def answers(data: dict[str, Any], pictures: torch.Tensor) -> list[dict[str, Any]]:
        if not chromium.current_url.endswith("engine.html"):
            chromium.get(page.as_uri())
        b, _, h, w = pictures.shape
        answer = chromium.execute_async_script(
            """
            const [data, pictures, h, w, done] = arguments, engine = lpaEngine();
            engine.open(data).then((network) => pictures.map((flat) => {
                const picture = {data: Float32Array.from(flat), c: flat.length / h / w, h, w};
                const {logits, levels} = engine.look(network, picture);
                return {logits: [...logits], maps: levels.map(({a}) => [...a])};
            })).then(done, (error) => done(String(error)));""",
            data,
            pictures.reshape(b, -1).tolist(),
            h,
            w,
        )
        assert isinstance(answer, list), answer
        return answer

    return answers


# ---- the engine ----


def layers() -> Iterator[tuple[nn.Module, tuple[int, int, int]]]:
    """Layers of random kinds and sizes, and the shape of what each is given."""
    chance = torch.Generator().manual_seed(0)

    def pick(*values: Any) -> Any:
        return values[int(torch.randint(len(values), (), generator=chance))]

    for _ in range(24):
        groups, kernel = pick(1, 1, 2), pick(1, 3, 3, 5, (1, 3))
        conv = nn.Conv2d(
            groups * pick(1, 2, 3),
            groups * pick(1, 3, 4, 5),
            kernel,
            stride=pick(1, 1, 2),
            padding=pick(0, 1, 2),
            dilation=pick(1, 1, 2),
            groups=groups,
            bias=pick(True, False),
            padding_mode=pick("zeros", "replicate"),
        )
        after = pick(nn.ReLU(), nn.GELU(), nn.SiLU(), nn.ReLU6(), nn.Identity())
        norm = pick(nn.BatchNorm2d(conv.out_channels), nn.Identity())
        yield nn.Sequential(conv, norm, after), (conv.in_channels, pick(9, 10, 13), pick(9, 11))
    for _ in range(6):
        yield nn.MaxPool2d(pick(2, 3), pick(1, 2), pick(0, 1)), (pick(1, 3), pick(5, 8), pick(6, 7))
        yield nn.AvgPool2d(pick(2, 3), pick(1, 2), pick(0, 1)), (pick(1, 3), pick(5, 8), pick(6, 7))
        yield nn.AdaptiveAvgPool2d(pick(1, 2, (3, 2))), (pick(1, 3), pick(5, 8), pick(6, 7))
        yield nn.AdaptiveMaxPool2d(pick(1, 2, (3, 2))), (pick(1, 3), pick(5, 8), pick(6, 7))
        yield nn.Sequential(nn.Flatten(), nn.Linear(18, pick(1, 4, 7)), nn.GELU()), (2, 3, 3)
        yield nn.Sequential(nn.BatchNorm2d(3), nn.ReLU()), (3, pick(2, 5), 4)


def test_every_layer_equals_torch(engine):
    torch.manual_seed(0)
    seen = set()
    for module, shape in layers():
        for part in module.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.running_mean.normal_()
                part.running_var.uniform_(0.5, 2)
        watch, x = _Watch(module.eval()), 3 * torch.randn(1, *shape)
        with torch.no_grad():
            watch.known[id(watch.keep(x))] = 0
            with watch.watching():
                wanted = module(x)
        assert watch.refused == {}
        steps, numbers = packed(folded(watch.steps), half=False)
        seen |= {step["do"] for step in steps} | {step.get("act") for step in steps}
        (answer,) = engine({"steps": steps, "numbers": numbers, "half": False}, x)
        np.testing.assert_allclose(
            answer["logits"], wanted.flatten().numpy(), rtol=1e-5, atol=1e-5, err_msg=str(module)
        )
    assert {"conv", "max", "avg", "adaptive_avg", "adaptive_max", "linear", "scale", "relu", "gelu", "silu"} <= seen


def pictures_for(info: Any) -> torch.Tensor:
    """Pictures such as the network knows; without CIFAR at hand, photographs cut into pieces."""
    if info.size == (40, 40):
        images = lpa_core.digits_in_clutter(PICTURES, split="test").images
    else:
        from sklearn.datasets import load_sample_image

        photo = torch.from_numpy(load_sample_image("china.jpg").copy()).permute(2, 0, 1)
        side = info.size[0]
        pieces = photo.unfold(1, side, side).unfold(2, side, side).flatten(1, 2).transpose(0, 1)
        images = pieces[torch.randperm(len(pieces), generator=torch.Generator().manual_seed(0))[:PICTURES]]
    return normalise(images, info.mean, info.std)


@pytest.mark.parametrize("match", ["global", "local"])
def test_scaled_dot_products_equal_torch(match, engine):
    """No network that ships has them."""
    torch.manual_seed(0)
    model = lpa_core.small_attention_net(4, compatibility="scaled_dp", match=match).eval()
    model.trunk.tail[-1].weight.data *= 40  # scores that differ
    images = torch.randn(2, 3, 24, 24)
    steps, numbers = packed(steps_of(model, (24, 24)), half=False)
    with torch.no_grad():
        wanted = model.attend(images)
    assert wanted.attended[2].weights.amax() > 2 / 36  # twice the equal weight
    answers = engine({"steps": steps, "numbers": numbers, "half": False}, images)
    for level, attended in enumerate(wanted.attended):
        own = [answer["maps"][level] for answer in answers]
        np.testing.assert_allclose(own, attended.weights.flatten(1).numpy(), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose([answer["logits"] for answer in answers], wanted.logits.numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", [name for name in lpa_core.available() if name != "photo-pc"])  # see test_live_network
def test_shipped_networks_equal_torch(name, engine):
    model, info = lpa_core.load_weights(name)
    data = described(model, classes=info.classes, mean=info.mean, std=info.std, size=info.size)
    pictures = pictures_for(info)
    assert len(pictures) == PICTURES
    with torch.no_grad():
        logits, maps = replay(steps_of(model, info.size), pictures.double(), rounded)
        plain = model(pictures)
    answers = engine(data, pictures)
    np.testing.assert_allclose([answer["logits"] for answer in answers], logits.numpy(), rtol=0, atol=1e-4)
    for level, wanted in enumerate(maps):
        own = [answer["maps"][level] for answer in answers]
        np.testing.assert_allclose(own, wanted.flatten(1).numpy(), rtol=0, atol=1e-5)
    # What the rounding of the weights costs: next to nothing.
    assert (logits.argmax(1) == plain.argmax(1)).float().mean() > 0.97


def test_temperature_and_given_maps_change_the_answer_as_they_should(engine, chromium):
    model, info = lpa_core.load_weights("digits-pc")
    data = described(model, classes=info.classes, mean=info.mean, std=info.std, size=info.size, half=False)
    picture = pictures_for(info)[:1]
    engine(data, picture)
    options = {"temperature": 2.5, "maps": [None, [1 / 400] * 400, None]}
    own = chromium.execute_async_script(
        """
        const [data, flat, options, done] = arguments, engine = lpaEngine();
        engine.open(data).then((network) => {
            engine.look(network, {data: Float32Array.from(flat), c: 3, h: 40, w: 40});
            const {logits, levels} = engine.look(network, null, options); // from the attention on
            const d = lpaDetails(network, 2, 57, 3);
            done({logits: [...logits], maps: levels.map(({a}) => [...a]), parts: d.parts, bias: d.bias, c: d.c_i,
                 inner: d.l_i.reduce((sum, x, k) => sum + x * d.query[k], 0) + d.constant});
        });""",
        data,
        picture.flatten().tolist(),
        options,
    )
    with torch.no_grad():
        features = model.trunk(picture)
        vectors = []
        for level, (local, estimator) in enumerate(zip(features.local, model.estimators, strict=True)):
            scores = estimator.scores(local, features.g) / 2.5
            attended = lpa_core.attend(local, torch.zeros_like(scores) if level == 1 else scores)
            vectors.append(attended.vector)
            np.testing.assert_allclose(own["maps"][level], attended.weights.flatten().numpy(), atol=1e-5)
        logits = model.classify(vectors)[0].numpy()
    np.testing.assert_allclose(own["logits"], logits, atol=1e-4)
    # The numbers in the formulas: the score is its parts, and so is the logit.
    assert own["inner"] == pytest.approx(own["c"], abs=1e-4)
    assert sum(own["parts"]) + own["bias"] == pytest.approx(own["logits"][3], abs=1e-4)


# ---- a page of one's own ----


def wait(chromium: Any, what: str, *arguments: Any) -> Any:
    return WebDriverWait(chromium, 60).until(lambda _: chromium.execute_script(f"return {what}", *arguments))


def settled(chromium: Any, scene: str) -> list[float]:
    """The logits of a scene when its network has come to rest."""
    return chromium.execute_async_script(
        f"""
        const done = arguments[0], read = () => [...({scene}.answer.result?.logits ?? [])];
        let last = null, same = 0;
        (function look() {{
            const now = read().join();
            same = now === last && !document.querySelector(".lpa-live[aria-busy=true]") ? same + 1 : 0;
            last = now;
            if (same > 4) done(read()); else setTimeout(look, 60);
        }})()"""
    )


def requests(chromium: Any) -> list[str]:
    messages = [json.loads(entry["message"])["message"] for entry in chromium.get_log("performance")]
    sent = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    return [url for url in sent if not url.startswith(("data:", "blob:"))]


def severe(chromium: Any) -> list[str]:
    return [entry["message"] for entry in chromium.get_log("browser") if entry["level"] == "SEVERE"]


def fresh(chromium: Any, address: str) -> None:
    chromium.get("about:blank")
    for log in ("browser", "performance"):
        chromium.get_log(log)
    chromium.get(address)


def test_an_exported_page_sees_what_python_sees_and_asks_nobody(chromium, tmp_path):
    chance = np.random.default_rng(0)
    small = Image.fromarray(chance.integers(0, 256, (12, 17, 3), dtype=np.uint8))
    small.resize((340, 250), Image.Resampling.BICUBIC).save(tmp_path / "photo.png")
    (tmp_path / "words.png").write_text("no picture")
    Image.new("RGB", (6000, 5000), "teal").save(tmp_path / "huge.png")
    live("digits-dp").save(tmp_path / "page.html")
    fresh(chromium, (tmp_path / "page.html").as_uri())
    wait(chromium, "scene.answer.result")
    assert chromium.execute_script("return document.getElementById('still').hidden")
    field = chromium.find_element("css selector", "input[type=file]")
    status = "document.querySelector('[role=status]').textContent"

    field.send_keys(str(tmp_path / "photo.png"))
    wait(chromium, "document.querySelector('.lpa-drop canvas').ariaLabel.startsWith('photo.png')")
    own = settled(chromium, "scene")
    wanted = lpa_core.look_at("digits-dp", tmp_path / "photo.png", size=40).output.logits[0]
    np.testing.assert_allclose(own, wanted.numpy(), atol=0.05)  # pixels may differ by 1, weights are rounded

    field.send_keys(str(tmp_path / "words.png"))
    wait(chromium, f"{status}.includes('words.png')")
    assert settled(chromium, "scene") == own, "the last picture stays"
    field.send_keys(str(tmp_path / "huge.png"))
    wait(chromium, "document.querySelector('.lpa-drop canvas').ariaLabel.startsWith('huge.png')")
    assert settled(chromium, "scene") != own
    assert requests(chromium) == [(tmp_path / "page.html").as_uri()]
    assert severe(chromium) == []
    assert barriers(chromium) == []


def test_a_dropped_picture_is_looked_at(chromium, tmp_path):
    live("digits-pc").save(tmp_path / "page.html")
    fresh(chromium, (tmp_path / "page.html").as_uri())
    wait(chromium, "scene.answer.result")
    before = settled(chromium, "scene")
    chromium.execute_async_script("""
        const done = arguments[0], canvas = document.createElement("canvas");
        canvas.getContext("2d").fillRect(20, 20, 90, 40);
        canvas.toBlob((blob) => {
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(new File([blob], "dropped.png", {type: "image/png"}));
            const event = new DragEvent("drop", {dataTransfer, bubbles: true, cancelable: true});
            document.querySelector(".lpa-drop").dispatchEvent(event);
            done();
        });""")
    wait(chromium, "document.querySelector('.lpa-drop canvas').ariaLabel.startsWith('dropped.png')")
    assert settled(chromium, "scene") != before


def barriers(chromium: Any) -> list[list[str]]:
    axe = importlib.resources.files("selenium_axe_python").joinpath("axe-core", "axe.min.js").read_text("utf8")
    chromium.execute_script(axe)  # the page lets nobody evaluate text
    return chromium.execute_async_script(
        """
        const done = arguments[0], scenes = document.querySelectorAll(".lpa-live");
        axe.run(scenes, {resultTypes: ["violations"]}).then(({violations}) => done(violations
            .filter(({impact}) => ["serious", "critical"].includes(impact))
            .flatMap(({id, nodes}) => nodes.map(({html}) => [id, html.slice(0, 150)]))))"""
    )


# ---- the page of the book ----


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(HTML))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()


def root(name: str) -> str:
    return f"document.querySelector('[data-scene={name}]').scene"


def open_scene(chromium: Any, name: str, state: str = "", start: str = "") -> str:
    """Open the page, bring the scene near, and wait for its first answer."""
    fresh(chromium, f"{start or HTML.as_uri()}/book/live.html{state and '#' + name + state}")
    chromium.execute_script(f"document.querySelector('[data-scene={name}]').scrollIntoView()")
    wait(chromium, f"{root(name)}?.answer.result")
    settled(chromium, root(name))
    return root(name)


def element(chromium: Any, name: str, selector: str) -> Any:
    return chromium.find_element("css selector", f"[data-scene={name}] {selector}")


def keys(chromium: Any, target: Any, *pressed: str) -> None:
    """Press keys with ``target`` in focus, as Tab would bring it there; a click could land under the page's head."""
    chromium.execute_script("arguments[0].focus()", target)
    webdriver.ActionChains(chromium).send_keys(*pressed).perform()


@pytest.mark.parametrize("scheme", ["file", "http"])
def test_scenes_start_without_asking_anybody_and_are_open_to_everybody(scheme, chromium, server):
    start = server if scheme == "http" else HTML.as_uri()
    for name in SCENES:
        open_scene(chromium, name, start=start)
        assert all(url.startswith(start) for url in requests(chromium))
        assert severe(chromium) == []
        assert chromium.execute_script(f"return document.querySelector('.lpa-still-{name}').hidden")
        chromium.execute_script("document.querySelectorAll('.lpa-opened').forEach((part) => { part.open = true; })")
        for step in chromium.find_elements("css selector", f"[data-scene={name}] .lpa-opened .lpa-row button"):
            step.click()
            wait(chromium, "arguments[0].ariaPressed === 'true'", step)
            settled(chromium, root(name))
            assert element(chromium, name, ".lpa-panel").text
        assert requests(chromium) == []  # whatever is done with it
        if scheme == "file":  # axe itself asks for the styles
            for theme in ("light", "dark"):
                chromium.execute_script("document.documentElement.dataset.theme = arguments[0]", theme)
                # A colour on its way from one theme to the other has a contrast of its own.
                chromium.execute_script("document.getAnimations().forEach((animation) => animation.finish())")
                assert barriers(chromium) == []


def test_the_page_paints_as_the_data_do(chromium):
    open_scene(chromium, "draw")
    for size, kind, source in ((16, 0, 5), (18, 0, 700), (19, 4, 33)):
        ink = handwritten().ink[source].astype(int)
        if kind == 0:
            own = chromium.execute_script("return [...lpaScene.glyph(arguments[0], arguments[1])]", ink.tolist(), size)
            assert own == glyphs(size)[0, source].ravel().tolist()
    for colour, ground in (((250, 210, 60), 30), ((10, 20, 200), 120), ((200, 5, 5), 100)):
        own = chromium.execute_script("return lpaScene.withContrast(arguments[0], arguments[1])", colour, ground)
        assert own == with_contrast(np.array([colour]), np.array([ground]))[0].tolist()


def test_a_digit_is_moved_by_mouse_keyboard_and_finger(chromium):
    scene = open_scene(chromium, "draw")
    handle = element(chromium, "draw", ".lpa-handle")
    seen = [settled(chromium, scene)]
    chromium.execute_script("arguments[0].focus()", handle)
    webdriver.ActionChains(chromium).send_keys(Keys.ARROW_RIGHT, Keys.ARROW_DOWN).perform()
    seen.append(settled(chromium, scene))
    assert "row 5, column 14" in handle.accessible_name
    webdriver.ActionChains(chromium).drag_and_drop_by_offset(handle, 40, 0).perform()
    seen.append(settled(chromium, scene))
    assert "row 5, column 19" in handle.accessible_name
    box = handle.rect
    chromium.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
    x, y = chromium.execute_script(
        "const r = arguments[0].getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]", handle
    )
    for kind, points in (
        ("touchStart", [{"x": x, "y": y}]),
        ("touchMove", [{"x": x, "y": y + 20}]),
        ("touchMove", [{"x": x, "y": y + 64}]),
        ("touchEnd", []),
    ):
        chromium.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    seen.append(settled(chromium, scene))
    chromium.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})
    assert handle.rect["y"] > box["y"] + 50
    assert len({tuple(logits) for logits in seen}) == 4
    wait(chromium, "location.hash.startsWith('#draw&at=')")


def test_a_scene_in_the_address_is_the_scene_that_was_left_and_reset_leaves_nothing(chromium):
    scene = open_scene(chromium, "draw")
    first = settled(chromium, scene)
    element(chromium, "draw", "button:nth-of-type(8)").click()
    Select(element(chromium, "draw", "select")).select_by_value("digits-dp")
    keys(chromium, element(chromium, "draw", "input[type=range]"), Keys.HOME)
    left = settled(chromium, scene)
    wait(chromium, "location.hash.includes('net=digits-dp') && location.hash.includes('t=-1')")
    state = chromium.execute_script("return location.hash").removeprefix("#draw")
    scene = open_scene(chromium, "draw", state)
    assert settled(chromium, scene) == left
    chromium.execute_script(f"{scene}.reset()")
    wait(chromium, "location.hash === '#draw'")
    assert settled(chromium, scene) == first
    open_scene(chromium, "draw", "&at=x&t=NaN&digit=-31&net=none&paint=%E0&ink=zz&ground=1e9&tint=constructor")
    assert severe(chromium) == []
    assert len(settled(chromium, root("draw"))) == 10


def test_every_control_changes_what_is_seen(chromium):
    scene = open_scene(chromium, "draw")
    picture = "document.querySelector('[data-scene=draw] canvas').toDataURL()"

    def state() -> tuple[Any, ...]:
        return (tuple(settled(chromium, scene)), chromium.execute_script(f"return {picture}"))

    for control in chromium.find_elements("css selector", "[data-scene=draw] select"):
        before = state()
        chosen = Select(control)
        chosen.select_by_index(1)
        assert state() != before, chosen.first_selected_option.text
        chosen.select_by_index(0)
    texts = ("Another hand", "7")
    for text in texts:
        before = state()
        button = chromium.find_element("xpath", f"//*[@data-scene='draw']//button[text()='{text}']")
        chromium.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)  # not under the page's head
        button.click()
        assert state() != before, text
    freeze, by_hand = chromium.find_elements("css selector", "[data-scene=draw] input[type=checkbox]")
    maps = f"return {scene}.answer.result.levels.map(({{a}}) => [...a])"
    freeze.click()
    settled(chromium, scene)
    held = chromium.execute_script(maps)
    keys(chromium, element(chromium, "draw", ".lpa-handle"), *[Keys.ARROW_RIGHT] * 6)
    settled(chromium, scene)
    np.testing.assert_allclose(np.array(chromium.execute_script(maps)[2]), held[2])
    freeze.click()
    settled(chromium, scene)
    assert chromium.execute_script(maps)[2] != held[2]
    by_hand.click()
    third = chromium.find_elements("css selector", "[data-scene=draw] .lpa-map canvas")[2]
    webdriver.ActionChains(chromium).move_to_element_with_offset(third, -60, -60).click().perform()
    settled(chromium, scene)
    painted = np.array(chromium.execute_script(maps)[2]).reshape(10, 10)
    assert painted.sum() == pytest.approx(1, abs=1e-5)
    assert painted[5:, 5:].sum() == 0
    assert painted[:5, :5].sum() == pytest.approx(1, abs=1e-5)
    wait(chromium, "location.hash.includes('paint=')")


def test_frozen_and_painted_maps_are_in_the_address(chromium):
    scene = open_scene(chromium, "draw")
    maps = f"return {scene}.answer.result.levels.map(({{a}}) => [...a])"
    freeze, by_hand = chromium.find_elements("css selector", "[data-scene=draw] input[type=checkbox]")
    keys(chromium, freeze, Keys.SPACE)
    keys(chromium, element(chromium, "draw", ".lpa-handle"), *[Keys.ARROW_RIGHT] * 6)
    left, held = settled(chromium, scene), chromium.execute_script(maps)
    wait(chromium, "location.hash.includes('frozen=') && location.hash.includes('at=3.18')")
    state = chromium.execute_script("return location.hash").removeprefix("#draw")
    scene = open_scene(chromium, "draw", state)
    wait(
        chromium,
        "arguments[0].checked",
        chromium.find_element("css selector", "[data-scene=draw] input[type=checkbox]"),
    )
    assert settled(chromium, scene) == left
    assert chromium.execute_script(maps) == held
    chromium.execute_script(f"{scene}.reset()")
    settled(chromium, scene)
    by_hand = chromium.find_elements("css selector", "[data-scene=draw] input[type=checkbox]")[1]
    keys(chromium, by_hand, Keys.SPACE)
    for canvas in chromium.find_elements("css selector", "[data-scene=draw] .lpa-map canvas"):
        keys(chromium, canvas, Keys.ARROW_DOWN, Keys.SPACE)
        settled(chromium, scene)
    painted = chromium.execute_script(maps)
    wait(chromium, "['paint1=', 'paint2=', 'paint='].every((name) => location.hash.includes(name))")
    state = chromium.execute_script("return location.hash").removeprefix("#draw")
    assert len(state) < 500
    scene = open_scene(chromium, "draw", state)
    wait(chromium, f"{scene}.answer.result.levels.every(({{a}}) => a.filter((v) => v > 0).length < a.length / 2)")
    for own, wanted in zip(chromium.execute_script(maps), painted, strict=True):
        np.testing.assert_allclose(own, wanted, atol=0.03)  # in 36 shades


# What all a scene shows and holds, as one text.
SEEN = """
    const root = document.querySelector(`[data-scene=${arguments[0]}]`);
    return [...root.querySelectorAll("canvas")].map((canvas) => canvas.toDataURL()).join()
        + [...root.querySelectorAll("input, select, details, button")].map((control) =>
            [control.value, control.checked, control.open, control.ariaPressed, control.ariaExpanded]).join()
        + root.innerText + [...root.querySelectorAll("[aria-label]")].map((part) => part.ariaLabel).join()"""
# Whether it changes within 20 seconds, told when the networks have come to rest.
CHANGED = f"""
    const [name, before, done] = arguments, seen = (...arguments) => {{{SEEN}}}, end = Date.now() + 20000;
    (function look() {{
        const busy = document.querySelector(".lpa-live[aria-busy=true]"), changed = seen(name) !== before;
        if (changed && !busy || Date.now() > end) done(changed); else setTimeout(look, 20);
    }})()"""
# Handles are dragged, and lists and sliders are the browser's own.
TOUCHED = "button:not(.lpa-handle), input[type=checkbox], canvas[tabindex], summary"


def controls(chromium: Any, name: str, selector: str) -> Iterator[Any]:
    """The controls of a scene that would do something, one after another, as long as they are there."""
    for control in chromium.find_elements("css selector", f":is({selector})"):
        inside = f"return arguments[0].isConnected && arguments[0].closest('[data-scene={name}]') !== null"
        if not chromium.execute_script(inside, control):
            continue
        idle = control.get_attribute("type") == "file" or control.get_attribute("aria-pressed") == "true"
        if not idle and control.is_displayed() and control.is_enabled():
            yield control


@pytest.mark.parametrize("name", SCENES)
@pytest.mark.parametrize("way", ["keyboard", "touch"])
def test_every_control_works_by_keyboard_and_by_touch(name, way, chromium):
    open_scene(chromium, name)
    tried = 0
    selector = "button, input, select, canvas[tabindex], summary" if way == "keyboard" else TOUCHED
    for control in controls(chromium, name, selector):
        before = chromium.execute_script(SEEN, name)
        if way == "keyboard":
            kind = control.get_attribute("type") if control.tag_name == "input" else control.tag_name
            kind = "handle" if "lpa-handle" in control.get_attribute("class") else kind
            pressed = {"range": [Keys.ARROW_RIGHT], "checkbox": [Keys.SPACE], "select": [Keys.ARROW_DOWN]}
            pressed |= {"handle": [Keys.ARROW_RIGHT], "canvas": [Keys.ARROW_DOWN, Keys.SPACE]}
            keys(chromium, control, *pressed.get(kind, [Keys.ENTER]))
        else:
            tap(chromium, control)
        words = control.accessible_name
        assert chromium.execute_async_script(CHANGED, name, before), words
        tried += 1
    assert tried >= 5
    assert severe(chromium) == []


def tap(chromium: Any, target: Any) -> None:
    """A finger on the middle of something."""
    x, y = chromium.execute_script(
        """
        arguments[0].scrollIntoView({block: "center", behavior: "instant"});
        const {x, y, width, height} = arguments[0].getBoundingClientRect();
        return [x + width / 2, y + height / 2]""",
        target,
    )
    chromium.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
    for kind, points in (("touchStart", [{"x": round(x), "y": round(y)}]), ("touchEnd", [])):
        chromium.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    chromium.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})


def test_a_scene_works_where_no_worker_may_start(chromium):
    wanted = settled(chromium, open_scene(chromium, "draw"))
    for source in (
        "window.Worker = undefined;",
        "window.Worker = class extends Worker { constructor() { super('data:text/javascript,throw Error()'); } };",
    ):
        added = chromium.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": source})
        try:
            assert settled(chromium, open_scene(chromium, "draw")) == wanted
        finally:
            chromium.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)
    assert severe(chromium) == []


def test_a_digit_drawn_by_hand_is_recognised_and_an_empty_drawing_is_said_to_be_one(chromium):
    scene = open_scene(chromium, "draw")
    said = f"{scene}.answer.said.textContent"
    chromium.find_element("xpath", "//*[@data-scene='draw']//button[text()='Draw your own']").click()
    wait(chromium, f"{said}.includes('Nothing is drawn yet')")
    pad = element(chromium, "draw", ".lpa-pad canvas")
    webdriver.ActionChains(chromium).move_to_element_with_offset(pad, 0, -70).click_and_hold().move_by_offset(
        0, 140
    ).release().perform()
    logits = settled(chromium, scene)
    wait(chromium, f"!{said}.includes('Nothing')")
    assert np.argmax(logits) == 1, "a stroke from top to bottom"
    keys(chromium, pad, Keys.ARROW_LEFT, Keys.SPACE)
    wait(chromium, "location.hash.includes('ink=')")


def test_a_picture_is_not_lost_when_a_question_about_the_old_one_overtakes_it(chromium):
    scene = open_scene(chromium, "draw")
    before = settled(chromium, scene)
    handle = element(chromium, "draw", ".lpa-handle")
    chromium.execute_script(
        f"""
        for (let n = 0; n < 4; n++) {{
            arguments[0].dispatchEvent(new KeyboardEvent("keydown", {{key: "ArrowRight", shiftKey: true}}));
            {scene}.look(false);
        }}""",
        handle,
    )
    moved = settled(chromium, scene)
    assert moved != before
    chromium.execute_script(f"{scene}.look()")
    assert settled(chromium, scene) == moved


def test_what_a_script_paints_wrongly_is_refused_in_words(chromium):
    scene = open_scene(chromium, "draw")
    before = settled(chromium, scene)
    chromium.execute_script(f"{scene}.paintMap(2, new Array(100).fill(NaN))")
    wait(chromium, f"{scene}.answer.said.textContent.includes('a map must be 100 numbers')")
    chromium.execute_script(f"{scene}.reset()")
    assert settled(chromium, scene) == before
    assert severe(chromium) == []


def test_the_brush_hides_the_digit(chromium):
    scene = open_scene(chromium, "occlude")
    before = settled(chromium, scene)
    canvas = element(chromium, "occlude", "canvas")
    x, y = chromium.execute_script("const r = arguments[0].getBoundingClientRect(); return [r.width, r.height]", canvas)
    strokes = webdriver.ActionChains(chromium, duration=20).move_to_element_with_offset(
        canvas, round(-0.44 * x), round(-0.44 * y)
    )
    strokes.click_and_hold()
    for _ in range(3):
        strokes.move_by_offset(round(0.42 * x), 0).move_by_offset(round(-0.42 * x), round(0.13 * y))
    strokes.release().perform()
    after = settled(chromium, scene)
    assert after[3] < before[3] - 0.5
    wait(chromium, f"{scene}.answer.said.textContent.includes('You covered')")
    wait(chromium, "location.hash.includes('covered=')")
    state = chromium.execute_script("return location.hash").removeprefix("#occlude")
    assert settled(chromium, open_scene(chromium, "occlude", state)) == after
    chromium.find_element("xpath", "//*[@data-scene='occlude']//button[text()='Uncover all']").click()
    assert settled(chromium, scene) == before
    keys(chromium, element(chromium, "occlude", "canvas"), Keys.ARROW_DOWN, Keys.SPACE)
    assert settled(chromium, scene) != before
    chromium.find_element("xpath", "//*[@data-scene='occlude']//button[text()='Another picture']").click()
    assert settled(chromium, scene) != before
    chromium.find_element("xpath", "//*[@data-scene='occlude']//button[text()='Let the page do it']").click()
    wait(chromium, "document.querySelector('[data-scene=occlude]').textContent.includes('Worst to lose')")


def test_a_position_is_read_by_the_keyboard(chromium):
    open_scene(chromium, "photograph")
    third = chromium.find_elements("css selector", "[data-scene=photograph] .lpa-map canvas")[2]
    readout = element(chromium, "photograph", ".lpa-readout")
    words = re.match(r"Level 3, row (\d+), column (\d+): weight ", readout.text)
    row, column = map(int, words.groups())  # the heaviest
    chromium.execute_script("arguments[0].focus()", third)
    webdriver.ActionChains(chromium).send_keys(Keys.ARROW_UP, Keys.ARROW_UP, Keys.ARROW_LEFT).perform()
    assert readout.text.startswith(f"Level 3, row {max(1, row - 2)}, column {max(1, column - 1)}: weight ")
