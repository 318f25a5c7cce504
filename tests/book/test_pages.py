"""Every page of the built book works: in Chromium without a network, from a file and from a server."""

import copy
import functools
import http.server
import importlib.resources
import inspect
import itertools
import json
import pkgutil
import re
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin, urlparse

import browser
import notebooks
import pytest
import rules
from bs4 import BeautifulSoup, Tag
from selenium import webdriver
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

pytestmark = pytest.mark.built

HTML = notebooks.ROOT / "_build" / "html"
# The page at the root only leads on to the first one.
PAGES = sorted(p.relative_to(HTML).as_posix() for p in HTML.glob("*/**/*.html") if "_static" not in p.parts)
PAGES += sorted(p.name for p in HTML.glob("*.html") if p.name != "index.html")
# A page with its photographs, scripts apart; the theme's styles and fonts alone are 655,000. The heaviest, on post-hoc
# attention, shows every method at 200 pixels twice.
MOST_BYTES = 1_400_000
PHONE = 390
FORMULA = ".bd-article-container .math"
PICTURE = ".bd-article-container img"
DIAGRAM = ".bd-article-container svg.lpa-diagram"  # drawings that stand in the page itself
CHAPTER = re.compile(r"book/\d\d-[^/]+\.html")
# sphinx-exercise gives this id to every exercise of a page.
KNOWN_DUPLICATES = {"exercise-content", "solution-content"}

# Serious and critical findings, each as rule, place and markup.
AXE = """
    const [rules, done] = arguments;
    axe.run(document, {resultTypes: ["violations"], ...rules}).then(result => done(result.violations
        .filter(violation => ["serious", "critical"].includes(violation.impact))
        .flatMap(violation => violation.nodes.map(
            node => [violation.id, node.target.flat().join(" "), node.html.slice(0, 200)]))))"""
# What has the colours of its like speaks for all of them: of the texts that are shown, the first of each kind stays.
ONE_TEXT_OF_EACH_KIND = """
    const kind = element => element === null ? "" : kind(element.parentElement) + [element.tagName, element.className,
        element.getAttribute("style"), element.tagName === "TR" ? element.rowIndex % 2 : ""].join() + "\\n";
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), texts = [], seen = new Set();
    while (walker.nextNode()) texts.push(walker.currentNode);
    const again = texts.filter(text => {
        if (!text.data.trim() || !text.parentElement.checkVisibility()) return false;
        const own = kind(text.parentElement), known = seen.has(own);
        seen.add(own);
        return known;
    });
    for (const text of again) (text.parentElement.childNodes.length === 1 ? text.parentElement : text).remove();"""

every_page = pytest.mark.parametrize("page", PAGES)


def pages_with(markup: str) -> pytest.MarkDecorator:
    found = [page for page in PAGES if markup in (HTML / page).read_text(encoding="utf8")]
    return pytest.mark.parametrize("page", found)


both_ways = pytest.mark.parametrize("scheme", ["file", "http"])


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    handler = functools.partial(Quiet, directory=str(HTML))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        driver = browser.start(Path(profile))
        driver.execute_cdp_cmd("Network.enable", {})
        driver.execute_cdp_cmd("Network.setCacheDisabled", {"cacheDisabled": True})
        yield driver
        driver.quit()


@pytest.fixture
def visit(chromium, server):
    """Open a page and wait until it stands still; the requests that it made, as Chromium's log tells them."""

    def open_page(page: str, scheme: str = "file", *, query: str = "") -> dict[str, dict[str, Any]]:
        browser.resize(chromium, 1280)
        chromium.get("about:blank")  # what the page before still asks for is not this page's
        for log in ("browser", "performance"):
            chromium.get_log(log)  # empties it
        start = (HTML / page).as_uri() if scheme == "file" else f"{server}/{page}"
        chromium.get(start + query)
        browser.settle(chromium)
        requests: dict[str, dict[str, Any]] = {}
        for entry in chromium.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            event, about = message["method"], message["params"]
            if event == "Network.requestWillBeSent":
                requests[about["requestId"]] = {"url": about["request"]["url"], "kind": about.get("type", "")}
            elif (request := requests.get(about.get("requestId", ""))) is not None:
                if event == "Network.responseReceived":
                    request["status"] = about["response"]["status"]
                elif event == "Network.loadingFinished":
                    request["bytes"] = about["encodedDataLength"]
                elif event == "Network.loadingFailed":
                    request["error"] = about["errorText"]
        return requests

    return open_page


@functools.cache
def parsed(page: str) -> BeautifulSoup:
    return BeautifulSoup((HTML / page).read_text(encoding="utf8"), "html.parser")


@functools.cache
def ids(page: str) -> Counter[str]:
    """How often each id stands on the page."""
    return Counter(tag["id"] for tag in parsed(page).find_all(id=True))


def article(page: str) -> Tag:
    """A copy of the page's own part, to take out of it what a test does not mean."""
    return copy.copy(parsed(page).select_one(".bd-article-container"))


# ---- the set of pages ----


def test_every_file_of_the_toc_has_a_page():
    wanted = {path.with_suffix(".html").as_posix() for path in notebooks.toc_files(notebooks.ROOT)}
    assert PAGES, f"no page in {HTML}: run make book first"
    assert wanted - set(PAGES) == set()


def test_no_page_is_left_of_something_that_is_gone():
    toc = {path.with_suffix(".html").as_posix() for path in notebooks.toc_files(notebooks.ROOT)}
    assert set(PAGES) - toc - {"search.html"} == set()


# ---- in Chromium ----


@both_ways
@every_page
def test_page_opens_whole_asks_nobody_and_is_open_to_everybody(page, scheme, visit, chromium):
    requests = list(visit(page, scheme).values())
    assert requests
    first = first_screen(chromium) if CHAPTER.fullmatch(page) else None
    outside = [r["url"] for r in requests if urlparse(r["url"]).hostname not in (None, "", "127.0.0.1")]
    assert outside == [], "requests to other machines"
    failed = [r for r in requests if "error" in r or r.get("status", 200) >= 400]
    assert failed == []
    errors = [entry["message"] for entry in chromium.get_log("browser") if entry["level"] == "SEVERE"]
    assert errors == []
    assert formulas_badly_set(chromium) == []
    assert pictures_badly_shown(chromium) == []
    assert diagrams_badly_shown(chromium) == []
    seen = [len(chromium.find_elements("css selector", what)) for what in (FORMULA, PICTURE, DIAGRAM)]
    assert seen == [len(parsed(page).select(what)) for what in (FORMULA, PICTURE, DIAGRAM)]
    if scheme == "file":  # what is the same in both is asked once
        clipped = clipped_code(chromium)
        assert barriers(chromium) == []
        assert clipped == [], "code that reaches beyond its box at 1,280 pixels"
        assert first is None or first == {"picture": True, "question": True}
        return
    weights = Counter()
    for request in requests:
        weights[request["kind"]] += request.get("bytes", 0)
    del weights["Script"]
    assert weights["Document"] > 0
    assert sum(weights.values()) <= MOST_BYTES, weights
    browser.resize(chromium, PHONE, phone=True)
    browser.settle(chromium)
    assert wide_parts(chromium, PHONE) == []


def formulas_badly_set(chromium: Any) -> list[dict[str, Any]]:
    """Formulas that are not set, or hold an unknown command: it is set as red text that begins with its backslash."""
    return chromium.execute_script(
        r"""
        return [...document.querySelectorAll(arguments[0])].map(math => ({
            source: math.textContent.slice(0, 60),
            set: math.querySelectorAll("mjx-container svg, mjx-container mjx-math").length,
            wrong: math.querySelectorAll("[data-mjx-error], mjx-merror, [data-mml-node=merror], merror").length
                + [...math.querySelectorAll("mtext")].filter(text => text.textContent.startsWith("\\")).length,
        })).filter(formula => !formula.set || formula.wrong)""",
        FORMULA,
    )


def pictures_badly_shown(chromium: Any) -> list[dict[str, Any]]:
    """Pictures that are not there, or whose colours the dark theme changes."""
    return chromium.execute_script(
        """
        document.documentElement.dataset.theme = "dark";
        return [...document.querySelectorAll(arguments[0])].map(image => ({
            source: image.src.slice(0, 100),
            loaded: image.complete && image.naturalWidth > 0,
            filter: getComputedStyle(image).filter,
        })).filter(picture => !picture.loaded || picture.filter !== "none")""",
        PICTURE,
    )


def diagrams_badly_shown(chromium: Any) -> list[str]:
    """Diagrams that are not there, and what is written in one and reaches beyond it."""
    return chromium.execute_script(
        """
        const wrong = [];
        for (const svg of document.querySelectorAll(arguments[0])) {
            const box = svg.getBoundingClientRect();
            if (box.width < 200 || box.height < 100) wrong.push(svg.getAttribute("aria-label") + ": not shown");
            for (const text of svg.querySelectorAll("text")) {
                const own = text.getBoundingClientRect();
                if (own.left < box.left - 1 || own.right > box.right + 1 || own.top < box.top - 1
                    || own.bottom > box.bottom + 3) wrong.push(text.textContent);
            }
        }
        return wrong;""",
        DIAGRAM,
    )


def clipped_code(chromium: Any) -> list[str]:
    """Code of which a part is hidden at its right edge, with every bar opened that hides some."""
    return chromium.execute_script("""
        const closed = [...document.querySelectorAll(".bd-article-container details:not([open])")];
        for (const bar of closed) bar.open = true;
        const clipped = [...document.querySelectorAll(".bd-article-container pre")]
            .filter(pre => pre.checkVisibility() && pre.scrollWidth > pre.clientWidth)
            .map(pre => pre.textContent.trim().slice(0, 60));
        for (const bar of closed) bar.open = false;
        return clipped;""")


def first_screen(chromium: Any) -> dict[str, bool]:
    """Whether a picture stands in the first screen, and a question above or beside it: what a chapter begins with."""
    return chromium.execute_script(
        """
        const article = document.querySelector(".bd-article-container");
        const pictures = [...article.querySelectorAll("img, svg.lpa-diagram, .lpa-explorer, .lpa-live")]
            .map(picture => picture.getBoundingClientRect()).filter(box => box.height >= 150 && box.top < 700);
        const bottom = Math.min(...pictures.map(box => box.bottom));
        const asks = [...article.querySelectorAll("h1, p")]
            .some(text => text.getBoundingClientRect().top < bottom && text.textContent.includes("?"));
        return {picture: pictures.length > 0, question: pictures.length > 0 && asks};"""
    )


@both_ways
def test_the_root_leads_to_the_first_page(scheme, visit, chromium):
    requests = visit("index.html", scheme)
    WebDriverWait(chromium, 10).until(lambda _: chromium.current_url.endswith("/book/index.html"))
    assert chromium.find_element("css selector", "article h1").text.startswith("Learn to Pay Attention")
    assert [request for request in requests.values() if "error" in request or request.get("status", 200) >= 400] == []
    assert [entry["message"] for entry in chromium.get_log("browser") if entry["level"] == "SEVERE"] == []


def wide_parts(chromium: Any, limit: int) -> list[str]:
    """What reaches beyond ``limit`` pixels, apart from what scrolls by itself; the page, where it can be scrolled."""
    return chromium.execute_script(
        """
        const limit = arguments[0], inside = ["auto", "scroll", "hidden"];
        const scrolls = element => element && element !== document.body &&
            (inside.includes(getComputedStyle(element).overflowX) || scrolls(element.parentElement));
        const wide = [...document.querySelectorAll(".bd-article-container *")]
            .filter(element => element.getBoundingClientRect().right > limit + 1 && !scrolls(element.parentElement))
            .map(element => element.outerHTML.slice(0, 120));
        return document.documentElement.scrollWidth > limit ? [...wide, "the page"] : wide;""",
        limit,
    )


def barriers(chromium: Any) -> list[list[str]]:
    """What axe finds to stand in somebody's way, in both themes. It leaves little of the page's text."""
    chromium.set_script_timeout(300)
    axe = importlib.resources.files("selenium_axe_python").joinpath("axe-core", "axe.min.js").read_text("utf8")
    chromium.execute_script("(0, eval)(arguments[0])", axe)

    def found(theme: str, rules: dict[str, Any]) -> list[list[str]]:
        chromium.execute_script("document.documentElement.dataset.theme = arguments[0]", theme)
        # A colour on its way from one theme to the other has a contrast of its own.
        chromium.execute_script("document.getAnimations().forEach(animation => animation.finish())")
        return [[theme, *barrier] for barrier in chromium.execute_async_script(AXE, rules)]

    # A theme changes colours and nothing else.
    whole = found("light", {"rules": {"color-contrast": {"enabled": False}}})
    whole += found("dark", {"runOnly": ["link-in-text-block"]})
    chromium.execute_script(ONE_TEXT_OF_EACH_KIND)
    return whole + [barrier for theme in ("dark", "light") for barrier in found(theme, {"runOnly": ["color-contrast"]})]


def press(chromium: Any, *keys: str) -> None:
    webdriver.ActionChains(chromium).send_keys(*keys).perform()


def state(chromium: Any, root: Any) -> list[str]:
    """What an explorer shows: its pictures with their alternative texts, then its sentence."""
    return chromium.execute_script(
        """
        const root = arguments[0];
        return [...root.querySelectorAll("img")].map(image => image.alt + image.src)
            .concat(root.querySelector("[role=status]").textContent)""",
        root,
    )


def focused(chromium: Any, element: Any) -> bool:
    return chromium.execute_script("return document.activeElement === arguments[0]", element)


@pages_with('class="lpa-explorer" role')
def test_explorers_are_moved_by_the_keyboard(page, visit, chromium):
    visit(page)
    explorers = chromium.find_elements("css selector", ".lpa-explorer")
    assert explorers
    for root in explorers:
        controls = root.find_elements("css selector", "input, select")
        assert controls
        chromium.execute_script("arguments[0].focus()", controls[0])
        for number, control in enumerate(controls):
            if number:
                press(chromium, Keys.TAB)
            assert focused(chromium, control), "the next control is one tab away"
            assert control.accessible_name, "a control that says what it is"
            seen = [state(chromium, root)]
            press(chromium, Keys.HOME)
            is_list = control.tag_name == "select"
            last = len(Select(control).options) - 1 if is_list else int(control.get_attribute("max"))
            for _ in range(last):
                seen.append(state(chromium, root))
                press(chromium, Keys.ARROW_DOWN if is_list else Keys.ARROW_RIGHT)
            seen.append(state(chromium, root))
            assert all(len(before) == len(after) for before, after in itertools.pairwise(seen))
            assert all(before != after for before, after in itertools.pairwise(seen[1:])), "a choice that shows nothing"
            change = "arguments[0].value = 0; arguments[0].dispatchEvent(new Event('change'))"
            chromium.execute_script(change, control)  # all that some readers of the screen tell
            assert state(chromium, root) == seen[1]
        loaded = "return [...arguments[0].querySelectorAll('img')].every(i => i.naturalWidth > 0 && i.alt.length > 10)"
        browser.settle(chromium)
        assert chromium.execute_script(loaded, root)
        widths = "return [...arguments[0].querySelectorAll('img')].map(image => image.getBoundingClientRect().width)"
        assert min(chromium.execute_script(widths, root)) >= 200
        assert root.find_elements("css selector", ".lpa-note") == []


@pages_with('class="lpa-quizzes"')
def test_quizzes_are_answered_by_the_keyboard(page, visit, chromium):
    visit(page)
    quizzes = chromium.find_elements("css selector", "form.lpa-quiz")
    assert quizzes
    for form in quizzes:
        radios = form.find_elements("css selector", "input[type=radio]")
        said = form.find_element("css selector", "[role=status]")
        button = form.find_element("css selector", "button")
        chromium.execute_script("arguments[0].focus()", radios[0])
        replies = []
        for number, radio in enumerate(radios):
            press(chromium, Keys.ARROW_DOWN if number else Keys.SPACE)
            assert radio.is_selected()
            assert focused(chromium, radio)
            assert said.text == "", "no reply before it is asked for"
            press(chromium, Keys.TAB, Keys.ENTER)
            assert focused(chromium, button)
            replies.append(said.text)
            webdriver.ActionChains(chromium).key_down(Keys.SHIFT).send_keys(Keys.TAB).key_up(Keys.SHIFT).perform()
        assert len(set(replies)) == len(radios)
        assert [reply.partition(".")[0] for reply in replies].count("Right") == 1


@both_ways
def test_search_finds_a_page_without_a_network(scheme, visit, chromium):
    visit("search.html", scheme, query="?q=attention")
    found = chromium.execute_async_script("""
        const done = arguments[0], end = Date.now() + 10000;
        (function look() {
            const links = document.querySelectorAll("#search-results li a");
            if (links.length || Date.now() > end) done(links.length); else setTimeout(look, 100);
        })()""")
    assert found > 0


# ---- in the markup ----


@every_page
def test_pictures_say_what_they_show(page):
    pictures = parsed(page).select(PICTURE)
    wrong = {img.get("src", "")[:60]: rules.alt_problem(img.get("alt")) for img in pictures}
    diagrams = parsed(page).select(DIAGRAM)
    wrong |= {svg.get("id", svg.get_text()[:60]): rules.alt_problem(svg.get("aria-label")) for svg in diagrams}
    assert {svg.get("role") for svg in diagrams} <= {"img"}
    assert {source: problem for source, problem in wrong.items() if problem} == {}


@every_page
def test_no_formula_is_left_as_text(page):
    shown = article(page)
    for element in shown.select("pre, code, script, .math"):
        element.decompose()
    assert re.findall(r"\\[(\[]|\$\$|\$[a-z]_", shown.get_text()) == [], "raw TeX in the text"


@every_page
def test_ids_are_unique(page):
    assert [name for name, times in ids(page).items() if times > 1 and name not in KNOWN_DUPLICATES] == []


def targets(page: str) -> Iterator[tuple[Tag, str]]:
    for tag in parsed(page).find_all(["a", "link", "script", "img", "source", "iframe", "object"]):
        for attribute in ("href", "src", "data"):
            if tag.get(attribute):
                yield tag, tag[attribute]


@every_page
def test_links_lead_somewhere(page):
    broken = []
    for _, target in targets(page):
        url = urlparse(target)
        if url.scheme in ("mailto", "data", "javascript") or (url.scheme.startswith("http") and url.netloc):
            continue
        path, anchor = urldefrag(urljoin("/" + page, unquote(target)))
        path = urlparse(path).path.lstrip("/") or "index.html"
        if not (HTML / path).is_file() or (anchor and path.endswith(".html") and anchor not in ids(path)):
            broken.append(target)
    assert broken == []


@every_page
def test_nothing_is_loaded_from_elsewhere(page):
    loading = [(tag.name, url) for tag, url in targets(page) if tag.name != "a" and urlparse(url).netloc]
    assert [(name, url) for name, url in loading if "canonical" not in str(url)] == []


def test_the_reference_holds_every_public_function_and_class_once():
    import lpa_core
    from lpa_core import posthoc

    rooms = [found.name for found in pkgutil.iter_modules(lpa_core.__path__) if found.ispkg]
    offered = [lpa_core, *(importlib.import_module(f"lpa_core.{room}") for room in rooms)]
    public = [getattr(module, name) for module in offered for name in getattr(module, "__all__", ())]
    public += [method.function for method in posthoc.METHODS.values()]
    ours = [t for t in public if getattr(t, "__module__", "").startswith("lpa_core")]
    wanted = {f"{t.__module__}.{t.__qualname__}" for t in ours if inspect.isfunction(t) or inspect.isclass(t)}
    assert len(wanted) > 100
    shown = Counter(name for page in PAGES if page.startswith("book/api/") for name in ids(page))
    assert {name: shown[name] for name in wanted if shown[name] != 1} == {}


@every_page
def test_page_loads_only_the_scripts_it_uses(page):
    names = [Path(urlparse(tag["src"]).path).name for tag in parsed(page).find_all("script", src=True)]
    assert [name for name, times in Counter(names).items() if times > 1] == []
    assert ("tex-svg-full.js" in names) == bool(parsed(page).select(".math"))
    assert "thebe" not in str(parsed(page)).lower()
    styles = [tag["href"] for tag in parsed(page).find_all("link", rel="stylesheet")]
    assert any("sphinx-design" in name for name in styles) == bool(
        parsed(page).select('[class^="sd-"], [class*=" sd-"]')
    )
    # On the search page stands a script of the theme, which puts the cursor into the field.
    inline = [] if page == "search.html" else parsed(page).select(".bd-article-container script")
    ours = ["lpa-explorer", "lpa-quizzes", "lpa-stepper"]
    assert [str(tag)[:80] for tag in inline if tag.find_parent(class_=ours) is None] == []


def test_figures_carry_the_number_of_their_chapter():
    numbers = {page: [tag.get_text() for tag in parsed(page).select(".caption-number")] for page in PAGES}
    chapters = {page: int(found[1]) for page in PAGES if (found := re.match(r"book/(\d\d)-", page))}
    expected = {
        page: [f"Fig. {chapters[page]}.{n} " for n in range(1, len(found) + 1)]
        for page, found in numbers.items()
        if page in chapters
    }
    assert any(expected.values())
    assert {page: [n for n in numbers[page] if n.startswith("Fig.")] for page in expected} == expected


def test_chapters_carry_their_numbers_in_the_sidebar():
    """Their own, from 0, on every page; the pages to look things up in have none."""
    chapters = {page: f"{int(page[5:7])}. " for page in PAGES if CHAPTER.fullmatch(page)}
    for page in PAGES:
        links = parsed(page).select(".bd-sidebar-primary li.toctree-l1 > a")
        shown = {urljoin("/" + page, unquote(link["href"])).lstrip("/"): link.get_text().strip() for link in links}
        shown.pop("", None)
        own = {"#": page}  # the page's own link leads nowhere
        shown = {own.get(target, target): words for target, words in shown.items()}
        assert links or page == "search.html", page
        for target, words in shown.items():
            target = page if target.endswith("#") else target.partition("#")[0]
            number = chapters.get(target)
            assert words.startswith(number) if number else not re.match(r"\d", words), (page, words)
    first = parsed("book/00-ten-minutes-before-you-start.html").select_one(".right-next .prev-next-title, a.right-next")
    assert "1. " in first.get_text()


@every_page
def test_no_markup_is_left_unread(page):
    text = article(page)
    for code in text.find_all(["pre", "code", "script"]):
        code.decompose()
    assert re.findall(r"\{[a-z][\w:.-]*\}`|:::|```|^#{2,} |\[\^?\w+\]\(", text.get_text(), re.MULTILINE) == []
