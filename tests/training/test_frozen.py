"""Maps of a frozen backbone kept on disk: a run with them is a run without them."""

import functools
from dataclasses import replace

import pytest
import torch
from tiny import tiny_config, tiny_sets

from lpa_core.models.adapt import attend_to
from lpa_core.models.builders import small_attention_net
from lpa_core.training import frozen, run
from lpa_core.training.frozen import DONE, FrozenFeatures, tickets
from lpa_core.training.run import train
from lpa_core.training.sets import Sets

MODEL = {
    "builder": "attend_to",
    "model": "squeezenet1_1",
    "nodes": ["features.5", "features.7"],
    "freeze_backbone": True,
    "input_size": 32,
    "compatibility": "dp",
    "dropout": 0.0,
}
CPU = torch.device("cpu")
SETS = Sets(*tiny_sets(size=32, n=16))


def config(**changes):
    return tiny_config(model=MODEL, crop=0, flip=False, cutmix=0.0, **changes)


def frozen_model(**changes):
    torch.manual_seed(0)
    options = {key: value for key, value in MODEL.items() if key not in ("builder", "model")}
    return attend_to("squeezenet1_1", num_classes=3, **{**options, **changes}).eval()


@pytest.fixture
def exact(monkeypatch):
    """Kept in float32: no rounding is between a run with stored maps and one without."""
    monkeypatch.setattr(run, "FrozenFeatures", functools.partial(FrozenFeatures, half=False))


@pytest.mark.usefixtures("exact")
def test_a_run_with_stored_maps_is_the_run_without(tmp_path):
    plain = train(config(), sets=SETS, device="cpu", progress=False)
    stored = train(config(), tmp_path / "run", sets=SETS, device="cpu", progress=False, features=tmp_path / "maps")
    again = train(config(), sets=SETS, device="cpu", progress=False, features=tmp_path / "maps")
    expected, others = plain.model.state_dict(), (stored.model.state_dict(), again.model.state_dict())
    for other in others:
        assert list(other) == list(expected)
        for name, tensor in expected.items():
            torch.testing.assert_close(other[name], tensor, rtol=1e-4, atol=1e-5, msg=name)
    for part in ("validation", "test"):
        assert stored.results[part]["loss"] == pytest.approx(plain.results[part]["loss"], rel=1e-4)
    assert stored.info["data"] == plain.info["data"]
    images = SETS.test.float_images()
    torch.testing.assert_close(stored.model(images), plain.model(images), rtol=1e-3, atol=1e-4)


def test_half_precision_changes_the_features_by_its_rounding(tmp_path):
    model = frozen_model()
    images = SETS.train.float_images()
    with torch.no_grad():
        true = model.trunk(images)
        store = FrozenFeatures(model, SETS, tmp_path, device=CPU)
        kept = model.trunk(store.sets.train.float_images())
    assert kept.g is not None
    for one, other in zip((*kept.local, kept.g), (*true.local, true.g), strict=True):
        torch.testing.assert_close(one, other, rtol=2e-3, atol=1e-3)
    store.give_back(model)
    with torch.no_grad():
        assert torch.equal(model.trunk(images).local[0], true.local[0])


def test_they_are_computed_once_for_each_backbone_and_each_part(tmp_path, monkeypatch):
    computed = []
    whole = frozen._compute
    monkeypatch.setattr(frozen, "_compute", lambda folder, *rest: (computed.append(folder), whole(folder, *rest)))

    def store(model, sets):
        FrozenFeatures(model, Sets(*sets), tmp_path, device=CPU)
        return len(computed)

    assert store(frozen_model(), SETS) == 3
    assert store(frozen_model(compatibility="pc", global_path=False), SETS) == 3  # only the estimators differ
    assert store(frozen_model(), (SETS.train, None, SETS.test)) == 3
    assert store(frozen_model(), (replace(SETS.train, mean=(0.1,) * 3), None, SETS.test)) == 4
    other = frozen_model()
    next(other.trunk.parameters()).data.mul_(2)
    assert store(other, SETS) == 7
    (computed[0] / DONE).unlink()  # as a kill in the middle leaves it
    assert store(frozen_model(), SETS) == 8


def test_a_ticket_is_the_number_of_a_picture():
    part = tickets(SETS.test, 70_000)
    numbers = (part.float_images()[:, :, 0, 0] * torch.tensor([1.0, 256.0, 65536.0])).sum(dim=1)
    assert numbers.tolist() == [*range(70_000, 70_016)]
    assert torch.equal(part.labels, SETS.test.labels)


@pytest.mark.parametrize("change", [{"flip": True}, {"crop": 2}, {"cutmix": 0.5}])
def test_a_recipe_that_changes_the_pictures_is_refused(change, tmp_path):
    wanted = replace(config(), **change)
    with pytest.raises(ValueError, match=f"{next(iter(change))} would change them in each epoch"):
        train(wanted, sets=SETS, progress=False, features=tmp_path / "maps")
    assert not (tmp_path / "maps").exists()


def test_what_is_not_frozen_is_refused(tmp_path):
    for model in (frozen_model(freeze_backbone=False), small_attention_net(3)):
        with pytest.raises(ValueError, match="features needs a frozen backbone"):
            FrozenFeatures(model, SETS, tmp_path, device=CPU)
    with pytest.raises(ValueError, match=r"g from the deepest map 'features.7'; got 'features.9'"):
        FrozenFeatures(frozen_model(global_node="features.9"), SETS, tmp_path, device=CPU)


def test_a_damaged_file_is_refused(tmp_path):
    FrozenFeatures(frozen_model(), SETS, tmp_path, device=CPU)
    file = next(tmp_path.glob("*/level1.npy"))
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"is damaged .*: delete it, and its maps are computed again"):
        FrozenFeatures(frozen_model(), SETS, tmp_path, device=CPU)
