"""Photographs that come with packages: named, licensed, and clear words where a package is missing."""

import sys

import pytest

from lpa_core.data import photographs
from lpa_core.data.photographs import PHOTOGRAPHS, photograph
from lpa_core.data.pictures import read_picture


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_each_can_be_read_and_says_whose_it_is(name):
    found = photograph(name)
    picture = read_picture(found.path)
    assert picture.shape[0] == 3
    assert min(picture.shape[1:]) >= 300
    assert found.licence in ("CC0 1.0", "CC BY 2.0", "public domain")
    assert found.credit
    assert found.source.startswith("http")


def test_an_unknown_name_is_told_which_there_are():
    with pytest.raises(ValueError, match=r"name must be one of chelsea, coffee, .*; got 'dog'"):
        photograph("dog")


def test_a_missing_package_is_named_with_what_to_install(monkeypatch):
    monkeypatch.setattr(photographs, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"'coffee' comes with scikit-image, .* pip install scikit-image .*photo"):
        _ = photograph("coffee").path


def test_a_package_without_the_file_is_named(monkeypatch):
    monkeypatch.setattr(photographs, "PHOTOGRAPHS", {"coffee": PHOTOGRAPHS["coffee"]._replace(file="data/none.png")})
    with pytest.raises(FileNotFoundError, match=r"scikit-image is installed without data/none.png"):
        _ = photograph("coffee").path


def test_asking_where_one_lies_does_not_import_its_package():
    before = "skimage.data" in sys.modules
    _ = photograph("chelsea").path
    assert ("skimage.data" in sys.modules) is before
