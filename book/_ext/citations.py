"""One style of citations: the text says Jetley et al., 2018, and so does the list at the end of the page.

The style ``author_year`` of sphinxcontrib-bibtex is for the text alone, and its lists keep labels like [JLLT18]; a work
whose entry ends in "and others" would be cited as "Hu and others".
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from pybtex.database import Entry
from pybtex.plugin import register_plugin
from pybtex.richtext import Tag, Text
from pybtex.style.formatting.alpha import Style as AlphaStyle
from pybtex.style.labels import BaseLabelStyle
from pybtex.style.template import Node
from sphinx.application import Sphinx
from sphinxcontrib.bibtex.plugin import register_plugin as register_bibtex_plugin
from sphinxcontrib.bibtex.style.referencing import PersonStyle
from sphinxcontrib.bibtex.style.referencing.author_year import AuthorYearReferenceStyle

NAME = "author_year_everywhere"


def authors(entry: Entry) -> Text:
    """One name, two names, or the first of more: Draelos; Jain and Wallace; Jetley et al."""
    persons = entry.persons["author"]
    names = [Text(" ").join([*person.rich_prelast_names, *person.rich_last_names]) for person in persons]
    if len(names) > 2 or str(names[-1]) == "others":
        return Text(names[0], " ", Tag("em", "et al."))
    return Text(" and ").join(names)


class Labels(BaseLabelStyle):
    """The labels of a list, as the text cites its works."""

    def format_labels(self, sorted_entries: Iterable[Entry]) -> Iterator[str]:
        return (f"{authors(entry)}, {entry.fields['year']}" for entry in sorted_entries)


class ListStyle(AlphaStyle):
    """A list in the order of its authors, with those labels."""

    default_label_style = Labels


def _formatted(children: list[Any], data: dict[str, Any]) -> Text:
    return authors(data["entry"])


class Persons(PersonStyle):
    """The names in the text."""

    def author_or_editor_or_title(self, full: bool) -> Node:
        return Node("authors", _formatted)


@dataclass
class TextStyle(AuthorYearReferenceStyle):
    """The text's own citations."""

    person: PersonStyle = field(default_factory=Persons)


def setup(app: Sphinx) -> dict[str, bool]:
    register_plugin("pybtex.style.formatting", NAME, ListStyle)
    register_bibtex_plugin("sphinxcontrib.bibtex.style.referencing", NAME, TextStyle)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
