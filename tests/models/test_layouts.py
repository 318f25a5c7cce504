"""How outputs are read as maps: shapes as they occur, and the modules that turn them."""

import pytest
import torch

from lpa_core.models.layouts import Layout, MapOf, VectorOf, layout_of

SQUARE, WIDE = (224, 224), (224, 320)
SHAPES = {
    "a map": ((64, 56, 56), SQUARE, ("map", 64, 56, 56, 0)),
    "a map as deep as high": ((7, 7, 7), SQUARE, ("map", 7, 7, 7, 0)),
    "a wide map": ((512, 7, 10), WIDE, ("map", 512, 7, 10, 0)),
    "a wide map as deep as high": ((7, 7, 10), WIDE, ("map", 7, 7, 10, 0)),
    "cut at the border": ((6, 7, 10), (30, 40), ("map", 6, 7, 10, 0)),
    "one position": ((512, 1, 1), SQUARE, ("map", 512, 1, 1, 0)),
    "strided one way": ((8, 12, 3), (12, 12), ("map", 8, 12, 3, 0)),
    "swin": ((7, 7, 768), SQUARE, ("channels last", 768, 7, 7, 0)),
    "swin, wide": ((7, 10, 768), WIDE, ("channels last", 768, 7, 10, 0)),
    "vit": ((197, 192), SQUARE, ("tokens", 192, 14, 14, 1)),
    "deit": ((198, 192), SQUARE, ("tokens", 192, 14, 14, 2)),
    "registers": ((201, 384), SQUARE, ("tokens", 384, 14, 14, 5)),
    "no class token": ((196, 192), SQUARE, ("tokens", 192, 14, 14, 0)),
    "vit, wide": ((281, 192), WIDE, ("tokens", 192, 14, 20, 1)),
    "too many before": ((202, 192), SQUARE, None),
    "queries apart for each head": ((3, 197, 64), SQUARE, None),
    "a vector": ((1000,), SQUARE, None),
    "no channel": ((0, 7, 7), SQUARE, None),
}


@pytest.mark.parametrize(("shape", "picture", "expected"), SHAPES.values(), ids=SHAPES)
def test_shapes_as_they_occur(shape, picture, expected) -> None:
    assert layout_of(shape, picture) == (None if expected is None else Layout(*expected))


def test_every_layout_of_one_map_gives_that_map_and_its_mean() -> None:
    true = torch.randn(2, 5, 3, 4, generator=torch.Generator().manual_seed(0))
    rows = true.flatten(2).mT
    first = torch.full((2, 1, 5), 9.0)
    given = {
        Layout("map", 5, 3, 4): true,
        Layout("channels last", 5, 3, 4): true.permute(0, 2, 3, 1),
        Layout("tokens", 5, 3, 4): rows,
        Layout("tokens", 5, 3, 4, 1): torch.cat([first, rows], dim=1),
    }
    for layout, output in given.items():
        assert torch.equal(MapOf(layout)(output), true)
        expected = first[:, 0] if layout.extra else true.mean(dim=(2, 3))
        torch.testing.assert_close(VectorOf(layout)(output), expected)
    assert torch.equal(VectorOf(None)(first[:, 0]), first[:, 0])
