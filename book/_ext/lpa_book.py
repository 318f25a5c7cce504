"""What the book needs from Sphinx beyond ``_config.yml``: it works offline, its figures and its sidebar carry the
chapters' numbers, its buttons know the repository's address, and its footer says what it was built from.
"""

import html
import importlib
import re
import subprocess
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.environment import BuildEnvironment

MATHJAX = "tex-svg-full.js"  # one file without fonts; the smaller builds fetch pieces later


def use_local_mathjax(app: Sphinx, config: Config) -> None:
    """Formulas are set by the copy of MathJax in the PyPI package, not by one on the network."""
    package = importlib.import_module("sphinx-mathjax-offline")
    config.html_static_path.append(str(Path(package.__file__).parent / "static" / "mathjax" / MATHJAX))
    config.mathjax_path = MATHJAX


def use_repository(app: Sphinx, config: Config) -> None:
    """With an address in ``repository.txt``: buttons for the source, issues and Colab. Without one: none."""
    file = Path(app.srcdir) / "repository.txt"
    url = file.read_text(encoding="utf8").strip() if file.exists() else ""
    if url:
        config.html_theme_options |= {
            "repository_url": url,
            "use_repository_button": True,
            "use_issues_button": True,
            "launch_buttons": {
                **config.html_theme_options.get("launch_buttons", {}),
                "colab_url": "https://colab.research.google.com",
            },
        }


def say_what_it_was_built_from(app: Sphinx, config: Config) -> None:
    """A footer with the package's version and, in a clone, the commit."""
    from lpa_core import __version__

    def git(*arguments: str) -> str:
        try:
            command = ["git", "-C", str(app.srcdir), *arguments]
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        except (OSError, subprocess.CalledProcessError):  # an unpacked archive, or no git at all
            return ""

    commit = git("rev-parse", "--short", "HEAD")
    if commit and git("status", "--porcelain"):
        commit += " with changes"
    source = f", commit {commit}" if commit else ""
    config.html_theme_options["extra_footer"] = f"<div>Built with lpa_core {__version__}{source}.</div>"


def number_by_chapter(app: Sphinx, env: BuildEnvironment) -> None:
    """Figure 2 of ``book/03-….ipynb`` is Fig. 3.2, and likewise tables, listings and equations."""
    for docname, types in env.toc_fignumbers.items():
        chapter = re.match(r"(?:.*/)?(\d+)-", docname)
        first = (int(chapter[1]),) if chapter else ()
        for numbers in types.values():
            for position, name in enumerate(sorted(numbers, key=numbers.__getitem__), start=1):
                numbers[name] = (*first, position)


def number_titles(app: Sphinx, env: BuildEnvironment) -> None:
    """``book/03-….ipynb`` is chapter 3 in the sidebar, in the links to the page before and after, and in the tab.

    The theme's own numbers begin at 1 and would number the pages to look things up in, too.
    """
    for docname, title in env.titles.items():
        if chapter := re.fullmatch(r"(?:.*/)?(\d\d)-[^/]*", docname):
            # The sidebar shows the first entry of a page's own contents, the links to neighbours its title.
            for shown in (title, next(env.tocs[docname].findall(nodes.reference))):
                shown.insert(0, nodes.Text(f"{int(chapter[1])}. "))


def skip_what_is_not_public(app: Sphinx, what: str, name: str, member: Any, skip: bool, options: Any) -> bool | None:
    """The reference shows what a module defines, once, and not what it hands on from another; of a NamedTuple, not the
    fields that its signature has shown already."""
    module = app.env.temp_data.get("autodoc:module") if what == "module" else None
    if module is not None and getattr(member, "__module__", module) != module:
        return True
    return True if str(getattr(member, "__doc__", "")).startswith("Alias for field number") else None


def set_off_remarks(app: Sphinx, what: str, name: str, member: Any, options: Any, lines: list[str]) -> None:
    """``Source: …`` and its like, which the docstrings write on neighbouring lines, become paragraphs of their own."""
    for index in range(len(lines) - 1, -1, -1):
        remark = re.match(r"(Source|Raises|Shapes|Differs from the paper): \S", lines[index])
        if remark:
            lines[index] = f"**{remark[1]}**" + lines[index][remark.end(1) :]
            for following in range(index + 1, len(lines)):
                if not lines[following].strip():
                    break
                lines[following] = lines[following].strip()  # indented, it would make a list of definitions
            lines.insert(index, "")


def plain_signature(
    app: Sphinx, what: str, name: str, member: Any, options: Any, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """A signature that Sphinx can read and people can, too: ``...`` for a default that a factory makes, and the kind of
    a number without its bounds, which its description tells."""
    if signature is not None:
        signature = signature.replace("<factory>", "...")
        signature = re.sub(r"[\w.~]*Annotated\[([\w.]+), [\w.~]*Bounds\([^()]*\)\]", r"\1", signature)
    return signature, returns


def remove_thebe(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Jupyter Book gives every page the settings of thebe, which would run code on a server. Nothing here uses them."""
    for node in list(doctree.findall(nodes.raw)):
        text = node.astext()
        if "text/x-thebe-config" in text or "kernelName =" in text:
            node.parent.remove(node)


def keep_needed_assets(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Leave out thebe's files, scripts that stand on the page already (Sphinx emits inline ones twice), and, where
    nothing of it is on the page, sphinx-design, whose styles are the heaviest after the theme's.
    """
    unused = ["thebe"]
    if not re.search(r'class="[^"]*\bsd-', context.get("body", "")):
        unused += ["sphinx-design", "design-tabs"]
    seen = set()
    kept = []
    for script in context.get("script_files", []):
        attributes = getattr(script, "attributes", {})
        identity = str(getattr(script, "filename", script) or "") + str(attributes.get("body", ""))
        if not any(name in identity.lower() for name in unused) and identity not in seen:
            seen.add(identity)
            kept.append(script)
    context["script_files"] = kept
    context["css_files"] = [
        style
        for style in context.get("css_files", [])
        if not any(name in str(getattr(style, "filename", style)) for name in unused)
    ]


def mend_markup(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Habits that stand in somebody's way: a list of references whose items are no list items, parameters of a
    signature as a definition list that defines nothing, and tables of pandas that no keyboard could scroll."""
    body = context.get("body", "").replace('<div role="list" class="citation-list">', '<div class="citation-list">')
    body = body.replace('<table border="1" class="dataframe">', '<table class="dataframe" tabindex="0">')

    def as_lines(found: re.Match[str]) -> str:
        lines = found[1].replace("<dd>", "<div>").replace("</dd>", "</div>")
        return f'<div class="sig-params">\n{lines}</div>'

    context["body"] = re.sub(r"<dl>\n((?:<dd>.*</dd>\n)+)</dl>", as_lines, body)


ROOT_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<link rel="icon" href="_static/{icon}">
<meta http-equiv="refresh" content="0; url={first}">
</head>
<body><p><a href="{first}">{title}</a></p></body>
</html>
"""


def lead_from_the_root(app: Sphinx, exception: Exception | None) -> None:
    """The page at the root leads to the book's first one. Jupyter Book's own has no icon, so browsers ask for one that
    is not there, and neither title nor link for those who do not follow by themselves."""
    if exception is None and app.builder.name == "html":
        page = ROOT_PAGE.format(
            title=html.escape(app.config.html_title),
            icon=Path(app.config.html_favicon).name,
            first=app.builder.get_target_uri(app.config.root_doc),
        )
        (Path(app.outdir) / "index.html").write_text(page, encoding="utf8")


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("config-inited", use_local_mathjax)
    app.connect("config-inited", use_repository)
    app.connect("config-inited", say_what_it_was_built_from)
    app.connect("env-check-consistency", number_by_chapter)
    app.connect("env-check-consistency", number_titles)
    app.connect("autodoc-skip-member", skip_what_is_not_public)
    app.connect("autodoc-process-docstring", set_off_remarks, priority=400)  # before napoleon
    app.connect("autodoc-process-signature", plain_signature)
    app.connect("doctree-resolved", remove_thebe, priority=900)
    app.connect("html-page-context", mend_markup)
    app.connect("html-page-context", keep_needed_assets, priority=900)
    app.connect("build-finished", lead_from_the_root)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
