"""The examples of the page beside other libraries run, each where its library is installed."""

import importlib.util
import os
import re
import warnings

import notebooks
import pytest
import torch

from lpa_core import load_weights
from lpa_core.data import digits_in_clutter
from lpa_core.metrics import energy_in_mask, pointing_game, relevance_rank_accuracy

PAGE = (notebooks.ROOT / "book" / "beside-other-libraries.md").read_text(encoding="utf8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
LIBRARIES = ("captum", "pytorch_grad_cam", "torchcam", "quantus", "timm")


def library_of(example: str) -> str | None:
    return next((name for name in LIBRARIES if re.search(rf"^(import|from) {name}\b", example, re.MULTILINE)), None)


def test_every_library_has_an_example():
    assert {library_of(example) for example in EXAMPLES} == {*LIBRARIES, None}


@pytest.fixture(scope="module")
def given():
    """What the examples take for granted: a trained model and pictures it knows."""
    digits = digits_in_clutter(4, split="test")
    return {
        "model": load_weights("digits-pc").model,
        "images": digits.float_images(),
        "labels": digits.labels,
        "masks": digits.masks,
        "pictures": torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(0)),
        "batches": [(digits.float_images(), digits.labels)],
    }


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: str(library_of(example)))
def test_an_example_runs(example, given, monkeypatch):
    library = library_of(example)
    if library is not None and importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    names = dict(given)
    monkeypatch.setattr(os, "environ", os.environ.copy())  # OpenCV writes into it
    if "explain(" in example and "import explain" not in example:
        exec("from lpa_core import explain", names)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(example, names)
    if "maps" in names:
        assert names["maps"].ndim == 3
        assert names["maps"].isfinite().all()
    if "attribution" in names:
        assert names["attribution"].shape == (4, 1, 40, 40)


@pytest.mark.long
@pytest.mark.skipif(importlib.util.find_spec("quantus") is None, reason="Quantus is not installed")
def test_where_definitions_agree_quantus_gives_the_same_numbers(given):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import quantus

    maps = torch.rand(4, 40, 40, generator=torch.Generator().manual_seed(3))
    ours = {
        quantus.PointingGame: pointing_game(maps, given["masks"]),
        quantus.RelevanceMassAccuracy: energy_in_mask(maps, given["masks"]),
        quantus.RelevanceRankAccuracy: relevance_rank_accuracy(maps, given["masks"]),
    }
    for score, expected in ours.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = score(disable_warnings=True, normalise=False, abs=False)(
                model=given["model"],
                x_batch=given["images"].numpy(),
                y_batch=given["labels"].numpy(),
                a_batch=maps[:, None].numpy(),
                s_batch=given["masks"][:, None].numpy(),
            )
        torch.testing.assert_close(torch.tensor([float(v) for v in theirs]), expected, rtol=1e-5, atol=1e-6)
