"""How long each chapter took, and on what, as the pipeline measured it when it made the outputs of this build.

``times.json`` beside ``_config.yml`` holds the chapters that were run for this build. A line with the time is added to
the facts at the head of each of them, and the directive ``chapter-times`` makes the table of all. A chapter that is not
in the file was not run, and its page says nothing of a time. A build that shows stored outputs alone has no table and
no heading over it.
"""

import json
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx

CHAPTER = re.compile(r"book/\d\d-[^/]+")
NOT_RUN = "not run in this build"
Run = dict[str, Any]


class chapter_times(nodes.General, nodes.Element):
    """Where the table will stand once all chapters are known."""


class ChapterTimes(Directive):
    """The table of all chapters with their times."""

    def run(self) -> list[nodes.Node]:
        return [chapter_times()]


def measured(source: Path) -> dict[str, Run]:
    """docname -> its run (seconds, scale, machine, processes, busy), of the chapters that were run for this build."""
    file = source / "times.json"
    found = json.loads(file.read_text(encoding="utf8")) if file.exists() else {}
    return {
        name.removesuffix(".ipynb"): run
        for name, run in found.items()
        if {"machine", "processes", "busy"} <= run.keys()
    }


def duration(seconds: float) -> str:
    """Seconds as a reader would say them: 7 s, 1 min 40 s."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{max(rest, 1)} s"


def conditions(run: Run) -> str:
    """What a time was measured under."""
    said = f"{run['machine']}, scale {run['scale']}"
    if run["processes"] > 1:
        said += f", {run['processes']} chapters at once"
    return said + (", slowed by other work" if run["busy"] else "")


def fact(run: Run) -> nodes.paragraph:
    """The line at the head of a chapter."""
    said = f"{duration(run['seconds'])} for the outputs on this page ({conditions(run)})"
    return nodes.paragraph("", "", nodes.strong("", "Measured"), nodes.Text(f" {said}"), classes=["measured"])


def cell(*content: nodes.Node) -> nodes.entry:
    return nodes.entry("", nodes.paragraph("", "", *content))


def row(*cells: nodes.entry) -> nodes.row:
    return nodes.row("", *cells)


def table(links: dict[str, nodes.Node], runs: dict[str, Run]) -> list[nodes.Node]:
    """All chapters, docname -> link, with their times and their sum; below it what the times were measured under."""
    body = [
        row(cell(link), cell(nodes.Text(duration(runs[name]["seconds"]) if name in runs else NOT_RUN)))
        for name, link in links.items()
    ]
    if len(runs) > 1:
        total = duration(sum(run["seconds"] for run in runs.values()))
        count = "all, one after the other" if len(runs) == len(links) else f"the {len(runs)} that were run"
        body.append(row(cell(nodes.emphasis("", count)), cell(nodes.emphasis("", total))))
    columns = [nodes.colspec(colwidth=width) for width in (3, 1)]
    head = nodes.thead("", row(cell(nodes.Text("chapter")), cell(nodes.Text("time"))))
    group = nodes.tgroup("", *columns, head, nodes.tbody("", *body), cols=2)
    made: list[nodes.Node] = [nodes.table("", group, classes=["chapter-times"])]
    seen = sorted({conditions(run) for run in runs.values()})
    if seen:
        made.append(nodes.paragraph("", f"Measured on {'; '.join(seen)}."))
    return made


def leave_out(app: Sphinx, doctree: nodes.document) -> None:
    """Where no chapter was run for this build, the table is left out, with the section that holds nothing else."""
    if measured(Path(app.srcdir)):
        return
    for place in list(doctree.findall(chapter_times)):
        section = place.parent
        alone = isinstance(section, nodes.section) and isinstance(section.parent, nodes.section)
        (section if alone else place).parent.remove(section if alone else place)


def show_times(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    runs = {name: run for name, run in measured(Path(app.srcdir)).items() if name in app.env.titles}
    if CHAPTER.fullmatch(docname):
        for facts in doctree.findall(nodes.container):
            if "chapter-facts" in facts["classes"] and docname in runs:
                facts += fact(runs[docname])
    for place in list(doctree.findall(chapter_times)):
        links: dict[str, nodes.Node] = {}
        for name in sorted(filter(CHAPTER.fullmatch, app.env.titles)):
            address = app.builder.get_relative_uri(docname, name)
            links[name] = nodes.reference("", app.env.titles[name].astext(), internal=True, refuri=address)
        place.replace_self(table(links, runs))


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_node(chapter_times)
    app.add_directive("chapter-times", ChapterTimes)
    app.connect("doctree-read", leave_out, priority=400)  # before the contents of the page are collected
    app.connect("doctree-resolved", show_times)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
