"""The records of swapped global vectors: the tool measures what it says, and an altered record is refused."""

import copy
import json
from pathlib import Path

import pytest
import record_g
import torch
from recorded import swaps
from recorded.schema import checksum
from threads import single_thread

from lpa_core.models.weights import load_weights

FOLDER = Path(__file__).resolve().parents[2] / "book" / "results"
PICTURES = 40


@pytest.fixture(scope="module")
def made():
    with single_thread():
        return {name: record_g.record([name], name, pictures=PICTURES) for name in ("digits-pc", "digits-dp")}


def test_in_pc_another_g_changes_nothing_and_other_maps_do(made):
    rows = swaps.swaps(swaps.SWAPS.checked(made["digits-pc"]))
    for name in swaps.OTHER_G:
        assert (rows[name].same, rows[name].changes) == (1, (0,))
        assert max(rows[name].moved) < 1e-5
    for name in swaps.OTHER_MAPS:
        assert rows[name].changes[0] < -50
        assert max(rows[name].moved) > 0.5


def test_in_dp_the_first_levels_follow_g(made):
    rows = swaps.swaps(swaps.SWAPS.checked(made["digits-dp"]))
    assert min(rows["another's g"].moved[:2]) > 0.3 > 0.1 > rows["another's g"].moved[2]
    assert rows["g = 0"].right < 0.5 < rows["own g"].right


def test_own_g_gives_what_the_model_says(made):
    trained = load_weights("digits-dp")
    test = record_g.first_pictures("digits", None, PICTURES, None)
    with torch.no_grad():
        right = (trained.model(test.float_images()).argmax(dim=1) == test.labels).double().mean().item()
    assert made["digits-dp"]["networks"][0]["rows"]["own g"]["right"] == right


def test_lengths_are_those_of_the_vectors_that_meet(made):
    trained = load_weights("digits-dp")
    with torch.no_grad():
        features = trained.model.trunk(record_g.first_pictures("digits", None, PICTURES, None).float_images())
    local, g = swaps.lengths(made["digits-dp"])
    expected = [level.norm(dim=1).mean().item() for level in features.local]
    assert local == pytest.approx(expected, abs=1e-4)
    assert g[2] == pytest.approx(features.g.norm(dim=1).mean().item(), abs=1e-4)  # level 3 takes g as it is


def test_sharpness_is_that_of_the_scores_and_weights(made):
    trained = load_weights("digits-dp")
    with torch.no_grad():
        attended = trained.model.attend(record_g.first_pictures("digits", None, PICTURES, None).float_images()).attended
    spreads, largest = swaps.sharpness(made["digits-dp"])
    assert spreads == pytest.approx([each.scores.flatten(1).std(dim=1).mean().item() for each in attended], abs=1e-4)
    assert largest == pytest.approx([each.weights.amax(dim=(1, 2)).mean().item() for each in attended], abs=1e-4)


def test_seeds_must_be_of_one_kind():
    with pytest.raises(ValueError, match="models must be seeds of one network"):
        record_g.record(["digits-pc", "digits-dp"], "both", pictures=4)


def test_a_model_without_g_is_refused():
    with pytest.raises(ValueError, match="there is no g to swap"):
        record_g.measure(load_weights("digits-uniform").model, record_g.first_pictures("digits", None, 4, None))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("rows", "own g", "right"), 0.9871, "must be a whole number of 40 pictures"),
        (("rows", "another's g", "lost"), 3, "gained less lost must be 0"),
        (("rows", "g = 0", "moved"), [0.1], "one share for each level"),
        (("rows", "g = 0", "moved"), [0.1, 0.2, 1.2], r"must be in \[0, 1\]"),
        (("g_lengths",), [1.0], "lengths must be one for each level"),
        (("local_lengths",), [1.0, 2.0, -1.0], "must be finite and not negative"),
        (("score_spreads",), [1.0], "must be one for each level"),
        (("score_spreads",), [1.0, 2.0, -1.0], "must be finite and not negative"),
        (("largest_weights",), [0.1, 0.2, 1.2], r"must be in \(0, 1\]"),
        (("rows", "own g", "same"), 0.5, "must give the same answers"),
    ],
)
def test_an_altered_record_is_refused(made, path, value, message):
    record = copy.deepcopy(made["digits-pc"])
    place = record["networks"][0]
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(ValueError, match="altered after it was written"):
        swaps.SWAPS.checked(record)
    with pytest.raises(ValueError, match=message):
        swaps.SWAPS.checked({**record, "checksum": checksum(record)})


def test_the_stored_records_are_whole():
    found = swaps.read_swaps(FOLDER)
    assert {"cifar100-pc", "small-pc", "tiny-imagenet-dp", "digits-dp"} <= set(found)
    for record in found.values():
        assert record["data"]["n"] == 1000
        json.dumps(record, allow_nan=False)
