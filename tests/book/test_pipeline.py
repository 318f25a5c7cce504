"""The chapters are run when something they depend on has changed, and their sources stay as they are."""

import base64
import copy
import io
import json
import platform
import shutil
import subprocess
from types import SimpleNamespace

import lpa_book
import machine
import matplotlib.pyplot as plt
import nbformat
import notebooks
import numpy as np
import pytest
from docutils import nodes
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from lpa_core import data

CHAPTER = "book/01-one.ipynb"


@pytest.fixture
def root(tmp_path):
    """A book of one chapter, which prints what the file beside it says."""
    for folder in ("book/results", "lpa_core"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: book/index\nchapters:\n- file: book/01-one\n")
    (tmp_path / "_config.yml").write_text("title: A book\n")
    (tmp_path / "requirements.txt").write_text("torch\n")
    (tmp_path / "lpa_core" / "attention.py").write_text("x = 1\n")
    (tmp_path / "book" / "index.md").write_text("# A book\n")
    (tmp_path / "book" / "results" / "run.txt").write_text("0.25")
    cells = [
        new_markdown_cell("# One"),
        new_code_cell("import os\n\nos.environ['LPA_SCALE'], os.environ['OMP_NUM_THREADS']"),
        new_code_cell("print(open('results/run.txt').read())"),
    ]
    nbformat.write(new_notebook(cells=cells), tmp_path / CHAPTER)
    nbformat.write(new_notebook(cells=[new_code_cell("1 / 0")]), tmp_path / "book" / "draft.ipynb")
    return tmp_path


def edit(root, change):
    notebook = nbformat.read(root / CHAPTER, as_version=4)
    change(notebook)
    nbformat.write(notebook, root / CHAPTER)


def the_key(root, scale="quick"):
    return notebooks.key(nbformat.read(root / CHAPTER, as_version=4), scale, root)


def write(name, text="other"):
    return lambda root: (root / name).write_text(text)


@pytest.mark.parametrize(
    "change",
    [
        write("lpa_core/attention.py"),
        write("lpa_core/weights.safetensors"),
        write("book/results/run.txt"),
        write("requirements.txt"),
        lambda root: edit(root, lambda nb: nb.cells[1].update(source="2")),
        lambda root: edit(root, lambda nb: nb.cells.append(new_code_cell("3"))),
    ],
    ids=["module", "weights", "results", "lock", "code", "cell"],
)
def test_what_decides_the_outputs_changes_the_key(root, change):
    before = the_key(root)
    change(root)
    assert the_key(root) != before
    assert the_key(root, "full") != the_key(root)


@pytest.mark.parametrize(
    "change",
    [
        write("book/index.md"),
        write("_config.yml"),
        lambda root: edit(root, lambda nb: nb.cells[0].update(source="# Another title")),
        lambda root: edit(root, lambda nb: nb.cells[1].metadata.update(tags=["hide-cell"])),
        lambda root: edit(root, lambda nb: nb.cells[1].update(outputs=[new_output("stream", text="4")])),
    ],
    ids=["page", "config", "prose", "tags", "outputs"],
)
def test_what_is_only_shown_leaves_the_key(root, change):
    before = the_key(root)
    change(root)
    assert the_key(root) == before


def test_a_chapter_runs_once_then_only_after_a_change(root, capsys):
    def stage():
        notebooks.stage(root, [], scale="quick", processes=1, timeout=60, again=False)
        staged = nbformat.read(root / "_build/stage" / CHAPTER, as_version=4)
        return capsys.readouterr().out.splitlines()[0], staged

    source = (root / CHAPTER).read_bytes()
    said, staged = stage()
    assert said.startswith("1 of 1 chapters to run")
    assert staged.cells[1].outputs[0].data["text/plain"] == "('quick', '1')"
    assert staged.cells[2].outputs[0].text == "0.25\n"
    assert (root / CHAPTER).read_bytes() == source
    assert not (root / "_build/stage/book/draft.ipynb").exists()
    times = json.loads((root / "_build/times.json").read_text())
    assert times[CHAPTER]["seconds"] > 0
    known = {"scale": "quick", "machine": machine.described(), "processes": 1}
    assert times[CHAPTER] == known | {name: times[CHAPTER][name] for name in ("seconds", "busy")}
    assert json.loads((root / "_build/stage/times.json").read_text()) == times

    edit(root, lambda nb: nb.cells[0].update(source="# A better title"))
    said, staged = stage()
    assert said.startswith("0 of 1 chapters to run")
    assert staged.cells[0].source == "# A better title"
    assert staged.cells[2].outputs[0].text == "0.25\n"


def test_stored_outputs_are_staged_as_they_are_and_nothing_runs(root):
    edit(root, lambda nb: nb.cells[2].update(outputs=[new_output("stream", name="stdout", text="0.5\n")]))
    source = (root / CHAPTER).read_bytes()
    notebooks.stage(root, [], stored=True)
    staged = nbformat.read(root / "_build/stage" / CHAPTER, as_version=4)
    assert [cell.get("outputs") for cell in staged.cells[1:]] == [
        [],
        [new_output("stream", name="stdout", text="0.5\n")],
    ]
    assert (root / "_build/stage/book/index.md").is_file()
    assert (root / CHAPTER).read_bytes() == source
    assert not (root / "_build/executed").exists()


def test_a_chapter_that_was_left_out_has_no_time_in_this_build(root):
    (root / "_toc.yml").write_text(
        "format: jb-book\nroot: book/index\nchapters:\n- file: book/01-one\n- file: book/02-two\n"
    )
    shutil.copy(root / CHAPTER, root / "book/02-two.ipynb")

    def staged(*only):
        notebooks.stage(root, only, scale="quick", processes=1, timeout=60, again=False)
        return set(json.loads((root / "_build/stage/times.json").read_text()))

    assert staged() == {CHAPTER, "book/02-two.ipynb"}
    assert staged("01") == {CHAPTER}


def test_the_opening_figure_is_drawn_when_its_code_or_the_package_changes(root):
    code, drawn = root / "book/opening.py", root / "_build/stage/book/opening.png"
    colour = "tuple(time.time_ns().to_bytes(8, 'big')[-3:])"
    code.write_text(f"import sys, time\nfrom PIL import Image\nImage.new('RGB', (4, 4), {colour}).save(sys.argv[1])\n")

    def draw():
        notebooks.fill_stage(root)
        notebooks.stage_opening(root)
        assert (root / "_build/stage/book/opening.py").read_text() == code.read_text()
        return drawn.read_bytes()

    first = draw()
    assert draw() == first
    (root / "lpa_core/attention.py").write_text("x = 2\n")
    second = draw()
    assert second != first
    code.write_text(code.read_text() + "# another\n")
    assert draw() != second
    code.write_text("assert False, 'its caption is wrong'\n")
    with pytest.raises(subprocess.CalledProcessError):
        draw()


@pytest.mark.parametrize(("percent", "cores", "busy"), [(15, 2, False), (55, 2, True), (15, 8, True), (5, 8, False)])
def test_a_busy_machine_is_noticed(monkeypatch, percent, cores, busy):
    monkeypatch.setattr("psutil.cpu_percent", lambda interval: percent)
    monkeypatch.setattr("psutil.cpu_count", lambda: cores)
    assert machine.is_busy() is busy


def test_a_processor_is_named_where_the_system_tells_it(tmp_path):
    file = tmp_path / "cpuinfo"
    file.write_text("processor\t: 0\nmodel name\t: Maker(R) Model(TM)   7 CPU\n")
    assert machine.processor(file) == "Maker Model 7 CPU"
    file.write_text("processor\t: 0\n")
    assert machine.processor(file) == (platform.processor() or platform.machine()) != ""


def test_a_failing_chapter_stops_the_book_and_is_tried_again(root, capsys):
    edit(root, lambda nb: nb.cells.append(new_code_cell("1 / 0")))
    for _ in range(2):
        with pytest.raises(SystemExit, match=r"failed: book/01-one\.ipynb"):
            notebooks.stage(root, [], scale="quick", processes=1, timeout=60, again=False)
        said = capsys.readouterr().out
        assert "1 of 1 chapters to run" in said
        assert "ZeroDivisionError" in said


def test_a_chapter_that_the_toc_names_must_exist(root):
    (root / CHAPTER).unlink()
    with pytest.raises(SystemExit, match="book/01-one"):
        notebooks.chapters(root)


def test_only_known_chapters_are_chosen(root):
    assert [path.name for path in notebooks.chapters(root, ["01"])] == ["01-one.ipynb"]
    with pytest.raises(SystemExit, match="no chapter begins with"):
        notebooks.chapters(root, ["07"])


def test_outputs_of_other_code_are_not_grafted():
    ran, changed = (new_notebook(cells=[new_code_cell(source)]) for source in ("1", "2"))
    with pytest.raises(AssertionError, match="other code"):
        notebooks.graft(changed, ran)


def test_pieces_of_one_stream_become_one():
    streams = [("stdout", "a"), ("stdout", "b"), ("stderr", "c"), ("stdout", "d")]
    result = notebooks.joined([new_output("stream", name=name, text=text) for name, text in streams])
    assert [(output.name, output.text) for output in result] == [("stdout", "ab"), ("stderr", "c"), ("stdout", "d")]


def test_a_cleaned_notebook_keeps_outputs_and_counts():
    cell = new_code_cell("1", execution_count=1, outputs=[new_output("stream", text="1")], id="one")
    cell.metadata.update(papermill={"duration": 1}, execution={"start": "now"}, tags=["hide-cell"])
    notebook = new_notebook(
        cells=[cell], metadata={"widgets": {}, "language_info": {"name": "python", "version": "3.11.7"}}
    )
    result = notebooks.cleaned(notebook)
    assert result.metadata == notebooks.METADATA
    assert result.cells[0].metadata == {"tags": ["hide-cell"]}
    assert (result.cells[0].outputs, result.cells[0].execution_count) == (cell.outputs, 1)


# ---- what the local Sphinx extension does ----


def test_numbers_follow_the_chapter_and_begin_anew_in_each():
    numbers = {
        "book/03-steps": {"figure": {"fig-b": (7,), "fig-a": (6,)}, "displaymath": {"eq": (2,)}},
        "book/index": {"figure": {"fig-top": (1,)}},
    }
    lpa_book.number_by_chapter(None, SimpleNamespace(toc_fignumbers=numbers))
    assert numbers == {
        "book/03-steps": {"figure": {"fig-b": (3, 2), "fig-a": (3, 1)}, "displaymath": {"eq": (3, 1)}},
        "book/index": {"figure": {"fig-top": (1,)}},
    }


def test_remarks_of_docstrings_become_paragraphs():
    lines = ["One sentence.", "", "Source: a paper.", "Raises: ValueError on this", "    and on that.", "", "Raises:"]
    lpa_book.set_off_remarks(None, "function", "name", None, None, lines)
    assert "\n".join(lines) == (
        "One sentence.\n\n\n**Source**: a paper.\n\n**Raises**: ValueError on this\nand on that.\n\nRaises:"
    )


def test_signatures_are_plain():
    given = "(n: ~typing.Annotated[int, ~lpa_core.Bounds(least=1, below=9)] = 2, many: list[~typing.Any] = <factory>)"
    wanted = "(n: int = 2, many: list[~typing.Any] = ...)"
    assert lpa_book.plain_signature(None, "class", "name", None, None, given, "None") == (wanted, "None")
    assert lpa_book.plain_signature(None, "module", "name", None, None, None, None) == (None, None)


def test_settings_of_thebe_leave_the_page_and_other_raw_parts_stay():
    texts = ['<script type="text/x-thebe-config">{}</script>', "<script>kernelName = 'python3'</script>", "<b>own</b>"]
    document = nodes.section("", *(nodes.raw("", text, format="html") for text in texts))
    lpa_book.remove_thebe(None, document, "book/03-steps")
    assert [node.astext() for node in document.findall(nodes.raw)] == ["<b>own</b>"]


def test_markup_that_hinders_screen_readers_is_mended():
    listed = '<dl class="simple">\n<dt>a</dt>\n<dd>b</dd>\n</dl>'
    signature = "<dt>f(\n\n<dl>\n<dd><em>x</em>,</dd>\n<dd><em>y</em>,</dd>\n</dl>\n\n)</dt>"
    context = {"body": f'<div role="list" class="citation-list"></div>{listed}{signature}'}
    lpa_book.mend_markup(None, "book/api/attention", "page.html", context, None)
    assert context["body"] == (
        f'<div class="citation-list"></div>{listed}<dt>f(\n\n<div class="sig-params">\n'
        "<div><em>x</em>,</div>\n<div><em>y</em>,</div>\n</div>\n\n)</dt>"
    )


@pytest.mark.parametrize("url", ["", "https://github.com/owner/name"])
def test_buttons_appear_with_the_address_only(tmp_path, url):
    if url:
        (tmp_path / "repository.txt").write_text(url + "\n")
    config = SimpleNamespace(html_theme_options={"launch_buttons": {"notebook_interface": "jupyterlab"}})
    lpa_book.use_repository(SimpleNamespace(srcdir=tmp_path), config)
    assert config.html_theme_options.get("repository_url", "") == url
    assert ("colab_url" in config.html_theme_options["launch_buttons"]) == bool(url)
    assert config.html_theme_options.get("use_repository_button", False) == bool(url)


def shown_lighter(pixels: np.ndarray) -> dict[str, str]:
    """The data of an output that shows ``pixels``, once lighter."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    png = base64.b64encode(file.getvalue()).decode()
    output = new_output("display_data", data={"image/png": png, "text/plain": "a picture"})
    source = new_notebook(cells=[new_markdown_cell("# One"), new_code_cell("1", outputs=[output])])
    before = copy.deepcopy(source)
    light = notebooks.lighter(source)
    assert source == before
    assert notebooks.lighter(light) == light
    packed = light.cells[1].outputs[0].data
    assert packed.pop("text/plain") == "a picture"
    assert sum(map(len, packed.values())) < 0.6 * len(png)
    return packed


def mean_error(shown: str, pixels: np.ndarray) -> float:
    seen = np.asarray(Image.open(io.BytesIO(base64.b64decode(shown))).convert("RGB"), dtype=float)
    assert seen.shape == pixels.shape
    return float(np.abs(seen - pixels).mean())


def test_staged_photographs_are_lighter_and_look_the_same():
    photograph = np.asarray(Image.open(data.photograph("chelsea").path).convert("RGB"))
    shown = shown_lighter(photograph)
    assert [*shown] == ["image/jpeg"]
    assert mean_error(shown["image/jpeg"], photograph) < 3


def test_staged_drawings_are_lighter_and_stay_sharp():
    places = np.linspace(0, 40, 300)
    figure, axes = plt.subplots(figsize=(6, 3))
    axes.plot(places, np.sin(places[:, None] * [1, 1.1, 1.3]))
    figure.canvas.draw()
    drawing = np.asarray(figure.canvas.buffer_rgba())[..., :3]
    shown = shown_lighter(drawing)
    assert [*shown] == ["image/png"]
    assert mean_error(shown["image/png"], drawing) < 0.5
