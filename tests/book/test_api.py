"""The API pages list everything that the package offers, and its docstrings say what a user must know."""

import importlib
import inspect
import re

import notebooks
import pytest

import lpa_core

PAGES = "\n".join(path.read_text(encoding="utf8") for path in sorted((notebooks.ROOT / "book" / "api").glob("*.md")))
LISTED = set(re.findall(r"^\.\. automodule:: (\S+)$", PAGES, re.MULTILINE))
OFFERED = {name: getattr(lpa_core, name) for name in lpa_core.__all__}
BUILDERS = lpa_core.BUILDERS


@pytest.mark.parametrize("name", [name for name, thing in OFFERED.items() if callable(thing)])
def test_what_the_package_offers_is_on_an_api_page(name):
    assert OFFERED[name].__module__ in LISTED
    assert len(inspect.getdoc(OFFERED[name]) or "") > 20


@pytest.mark.parametrize("module", sorted(LISTED))
def test_an_api_page_names_a_module_that_exists(module):
    assert inspect.getdoc(importlib.import_module(module))


@pytest.mark.parametrize("name", BUILDERS)
def test_a_builder_says_what_it_refuses(name):
    assert "Raises:" in inspect.getdoc(BUILDERS[name])
