"""The ladders, comparisons and words of the chapter on results, on made-up records with no, one and three seeds."""

from pathlib import Path

import pytest
from recorded import ladder, photographs
from recorded.runs import check_run, read_runs
from runs import varied

from lpa_core.training.sweeps import VARIANTS

FOLDER = Path(__file__).resolve().parents[2] / "book" / "results"


def made(values, **right):
    """Runs of the recipe "quick": of each variant one for each number of right answers among its 64 test pictures."""
    return [
        check_run(varied(values, name=f"quick-{variant.replace('_', '-')}", seed=seed, accuracy=n / 64))
        for variant, each in right.items()
        for seed, n in enumerate(each)
    ]


def only(values, **right):
    (found,) = ladder.ladders(made(values, **right))
    return found


def test_without_records_there_is_no_ladder_and_everything_is_lacking():
    assert ladder.ladders([]) == []
    assert ladder.answer([]) == "No pair of attention and equal weights has been run yet."
    assert ladder.not_run([]).startswith("The paper's full width and SVHN have not been run")
    assert "resolution and head and attention" in ladder.unknown([], [])


def test_a_network_without_its_control_gets_a_rung_and_no_claim(values):
    found = only(values, pc=[40])
    assert [(rung.variant, rung.accuracies) for rung in found.rungs] == [("pc", (62.5,))]
    one = ladder.gain(found)
    assert (one.points, one.mean, one.verdict, str(one)) == ((), None, "not run", "not run")
    assert "have not been run with the same seed" in ladder.sentence(one)
    assert ladder.gains([found]) == []


def test_one_seed_is_said_to_be_one_seed(values):
    one = ladder.gain(only(values, pc=[48], uniform=[40]))
    assert (one.points, one.low, one.verdict) == ((12.5,), None, "one seed")
    assert str(one) == "+12.50 (one seed)"
    assert "12.5 points above equal weights. That is one seed of each: no interval, no claim." in ladder.sentence(one)
    assert "decides nothing" in ladder.answer([one])
    assert "(small network)" in ladder.unknown([one.ladder], [one])


def test_two_seeds_have_an_interval_and_carry_no_claim(values):
    one = ladder.gain(only(values, pc=[48, 48], uniform=[40, 40]))
    assert (one.low, one.high, one.verdict) == (12.5, 12.5, "open")
    assert "fewer than 3 seeds" in ladder.sentence(one)


def test_choices_are_compared_where_both_were_run(values):
    found = only(values, pc=[48, 40], indep=[32], levels_1=[16], levels_2=[24], vgg=[8])
    assert [(what, one.points) for what, one in ladder.choices([found])] == [
        ("concat in place of indep", (25.0,)),
        ("three levels in place of two", (37.5,)),
        ("two levels in place of one", (12.5,)),
    ]
    assert {name for _, *names in ladder.CHOICES for name in names} <= {*VARIANTS}


@pytest.mark.parametrize(
    ("pc", "verdict", "words"),
    [
        ([50, 51, 52], "gain", "The interval lies above zero"),
        ([30, 31, 29], "loss", "The interval lies below zero"),
        ([30, 50, 44], "open", "The interval holds zero"),
    ],
)
def test_three_seeds_choose_the_words(values, pc, verdict, words):
    one = ladder.gain(only(values, pc=pc, uniform=[40, 41, 40]))
    assert one.verdict == verdict
    assert words in ladder.sentence(one)
    assert (one.low <= 0 <= one.high) == (verdict == "open")
    said = {"gain": "above equal weights, beyond", "loss": "*below* equal weights, beyond", "open": "no difference"}
    assert said[verdict] in ladder.answer([one])
    assert [what for what in said if said[what] in ladder.answer([one])] == [verdict]


def test_the_interval_is_students(values):
    one = ladder.gain(only(values, pc=[50, 52, 48], uniform=[40, 40, 40]))
    half = 4.302653 * (2 / 64 * 100) / 3**0.5  # t of 97.5 % at two degrees of freedom; standard deviation 2 pictures
    assert one.low == pytest.approx(one.mean - half, rel=1e-6)
    assert one.high == pytest.approx(one.mean + half, rel=1e-6)


def test_only_seeds_that_both_have_are_compared(values):
    one = ladder.gain(only(values, pc=[48, 48, 48], uniform=[40]))
    assert one.points == (12.5,)
    assert one.verdict == "one seed"


def test_rungs_stand_in_order_and_steps_are_told_apart(values):
    found = only(values, pc=[60], levels_1=[50], uniform=[56], vgg=[40], dp=[30], **{"global": [50]})
    assert [rung.variant for rung in found.rungs] == ["vgg", "global", "uniform", "pc", "dp", "levels-1"]
    steps = {what: one.points for what, one in ladder.steps([found])}
    assert steps == {"resolution": (15.625,), "head": (9.375,), "attention": (6.25,)}
    assert "was not measured" not in ladder.unknown([found], [])


def test_a_control_that_differs_in_its_recipe_is_refused(values):
    longer = varied(values, name="quick-uniform", seed=0, accuracy=40 / 64, label_smoothing=0.2)
    records = [*made(values, pc=[48]), check_run(longer)]
    pairs = [ladder.gain(found) for found in ladder.ladders(records)]
    with pytest.raises(ValueError, match="is no matched control"):
        ladder.must_be_matched(records, pairs)


def test_two_recipes_for_one_network_are_told_apart(values):
    records = [*made(values, pc=[48]), check_run(varied(values, name="slow-pc", seed=0, accuracy=0.5))]
    assert {found.network for found in ladder.ladders(records)} == {"small network (quick)", "small network (slow)"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("small-levels-1", ("small", "levels-1")),
        ("quarter-long-pc", ("quarter-long", "pc")),
        ("book-vgg-gap", ("book", "vgg-gap")),
        ("tiny", ("tiny", "tiny")),
    ],
)
def test_a_name_is_parted_into_recipe_and_variant(name, expected):
    assert ladder.parted(name) == expected


def test_the_stored_records_give_ladders_with_tiny_imagenet_among_them():
    records = read_runs(FOLDER)
    found = ladder.ladders(records, photographs.read_runs(FOLDER))
    assert found[-1].data == "digits"
    (tiny,) = [each for each in found if each.data == "tiny-imagenet"]
    assert [len(rung.seeds) for rung in tiny.rungs] == [3, 3, 3]
    ladder.must_be_matched(records, [ladder.gain(each) for each in found])
