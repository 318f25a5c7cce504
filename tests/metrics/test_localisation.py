"""Scores for maps: hand-computed numbers on tiny maps, closed forms, and properties on random ones."""

import math

import jaxtyping
import pytest
import torch

from lpa_core.metrics.baselines import blurred_brightness, centre_prior, random_maps, uniform_maps
from lpa_core.metrics.intervals import Interval, cluster_interval
from lpa_core.metrics.localisation import box_masks, energy_in_mask, enlarge, iou, pointing_game, score_maps
from lpa_core.metrics.tables import best_level, compare_maps

NAN = float("nan")


@pytest.fixture
def unchecked():
    """Turn the run-time shape checker off, as it is for users, so that the package's own messages are seen."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)


def mask_of(*rows: str) -> torch.Tensor:
    """One mask drawn in text: # is the object."""
    return torch.tensor([[[c == "#" for c in row] for row in rows]])


def random_case(seed: int, b: int = 6, h: int = 5, size: int = 20) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    maps = torch.rand(b, h, h, generator=generator)
    masks = torch.rand(b, size, size, generator=generator) < 0.2
    return maps, masks


# enlarge --------------------------------------------------------------------------------------------------------------


def test_enlarge_by_hand() -> None:
    # Two cells over four pixels: centres at 0.5 and 2.5, so pixels 1 and 2 are a quarter of the way in.
    enlarged = enlarge(torch.tensor([[[0.0, 1.0]]]), (1, 4))
    torch.testing.assert_close(enlarged, torch.tensor([[[0.0, 0.25, 0.75, 1.0]]]))
    # Both axes: the outer product of the two one-dimensional answers.
    edge = torch.tensor([0.0, 0.25, 0.75, 1.0])
    square = enlarge(torch.tensor([[[0.0, 0.0], [0.0, 1.0]]]), (4, 4))
    torch.testing.assert_close(square, (edge[:, None] * edge)[None])


def test_enlarge_keeps_a_map_of_the_right_size_and_upcasts_halves() -> None:
    maps = torch.rand(2, 3, 4)
    assert torch.equal(enlarge(maps, (3, 4)), maps)
    assert enlarge(maps.bfloat16(), (6, 8)).dtype == torch.float32
    assert enlarge(maps.double(), (6, 8)).dtype == torch.float64
    assert enlarge(torch.zeros(0, 3, 4), (6, 8)).shape == (0, 6, 8)


@pytest.mark.parametrize("factor", [2, 3, 8])
def test_enlarge_by_a_whole_factor_keeps_the_mean(factor: int) -> None:
    maps = torch.rand(4, 5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    enlarged = enlarge(maps, (5 * factor, 3 * factor))
    torch.testing.assert_close(enlarged.mean(dim=(1, 2)), maps.mean(dim=(1, 2)))


def test_enlarge_carries_no_gradient() -> None:
    assert not enlarge(torch.rand(1, 2, 2, requires_grad=True), (4, 4)).requires_grad


# the three scores, by hand --------------------------------------------------------------------------------------------


def test_scores_by_hand() -> None:
    maps = torch.tensor([[[1.0, 2.0, 3.0], [4.0, 6.0, 0.0]]])
    mask = mask_of(".##", ".#.")
    # Largest value 6 at (1, 1), inside. Mass 16, inside 2 + 3 + 6. Three largest are 6, 4, 3: two inside of three.
    scores = score_maps(maps, mask)
    assert scores.pointing.tolist() == [1.0]
    assert scores.energy.item() == pytest.approx(11 / 16)
    assert scores.iou.item() == pytest.approx(2 / (2 * 3 - 2))
    # The complement: the same map points at nothing; its three largest overlap in one pixel.
    other = score_maps(maps, ~mask)
    assert other.pointing.tolist() == [0.0]
    assert other.energy.item() == pytest.approx(5 / 16)
    assert other.iou.item() == pytest.approx(1 / (2 * 3 - 1))


def test_a_map_equal_to_its_mask_scores_one_and_its_opposite_zero() -> None:
    _, masks = random_case(1)
    for score in score_maps(masks.float(), masks):
        torch.testing.assert_close(score, torch.ones(6))
    for score in score_maps((~masks).float(), masks):
        torch.testing.assert_close(score, torch.zeros(6))


def test_the_three_functions_are_the_columns_of_score_maps() -> None:
    maps, masks = random_case(2)
    scores = score_maps(maps, masks)
    assert torch.equal(scores.pointing, pointing_game(maps, masks))
    assert torch.equal(scores.energy, energy_in_mask(maps, masks))
    assert torch.equal(scores.iou, iou(maps, masks))


def test_maps_are_enlarged_before_they_are_scored() -> None:
    # One bright cell of 2x2 over 4x4: after enlarging the corner pixel alone is the largest (1, beside .75).
    maps = torch.tensor([[[1.0, 0.0], [0.0, 0.0]]])
    assert pointing_game(maps, mask_of("#...", "....", "....", "....")).tolist() == [1.0]
    assert pointing_game(maps, mask_of(".#..", "##..", "....", "....")).tolist() == [0.0]
    # Row values 1, .75, .25, 0 sum to 2: mass 4, in the corner 1.
    assert energy_in_mask(maps, mask_of("#...", "....", "....", "....")).item() == pytest.approx(1 / 4)
    # The three largest are 1 and twice .75: all of the L-shaped mask.
    assert iou(maps, mask_of("##..", "#...", "....", "....")).item() == pytest.approx(1.0)


# ties -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("h", "size"), [(1, 8), (5, 40), (7, 33), (3, 40), (8, 8)])
@pytest.mark.parametrize("value", [1.0, 1 / 49, 3.3e-7, 1e30])
def test_a_constant_map_scores_chance_exactly(h: int, size: int, value: float) -> None:
    masks = torch.zeros(3, size, size, dtype=torch.bool)
    masks[0, :3, :2] = True  # where a naive argmax would look: the first pixel
    masks[1, -2:, -4:] = True
    masks[2] = True
    scores = score_maps(torch.full((3, h, h), value), masks)
    k, n = torch.tensor([6.0, 8.0, size**2]), size**2
    torch.testing.assert_close(scores.pointing, k / n)
    torch.testing.assert_close(scores.energy, k / n)
    torch.testing.assert_close(scores.iou, k / (2 * n - k))


def test_ties_share_by_hand() -> None:
    maps = torch.tensor([[[5.0, 5.0, 5.0, 1.0, 0.0]]])
    # Three share the first place, one of them inside.
    assert pointing_game(maps, mask_of("#..##")).item() == pytest.approx(1 / 3)
    # Mask of two: the three tied pixels take 2/3 of a place each; one is inside, so t = 2/3.
    assert iou(maps, mask_of("#..#.")).item() == pytest.approx((2 / 3) / (4 - 2 / 3))
    # Mask of four: no tie at the last place (value 1); t counts 5, 5 and 1.
    assert iou(maps, mask_of(".####")).item() == pytest.approx(3 / (8 - 3))


def test_ties_in_a_flat_tail_do_not_follow_pixel_order() -> None:
    # A ReLU-like map: one peak, the rest zero. The score must not change when the picture is mirrored.
    maps = torch.zeros(1, 4, 4)
    maps[0, 0, 0] = 1.0
    left = mask_of("##..", "##..", "....", "....")
    expected = 1 + 3 / 15 * 3  # the peak, and 3 of the other 15 places shared, 3 of them inside
    assert iou(maps, left).item() == pytest.approx(expected / (8 - expected))
    assert iou(maps.flip(2), left.flip(2)).item() == pytest.approx(expected / (8 - expected))


def test_small_differences_are_not_ties() -> None:
    maps = torch.tensor([[[1.0, 1.0 + 1e-5]]])
    assert pointing_game(maps, mask_of("#.")).tolist() == [0.0]
    # Nor are tiny values beside a large one: 3e-9 is more than 1e-9, whatever the peak.
    tail = torch.tensor([[[1.0, 1e-9, 3e-9]]])
    assert iou(tail, mask_of("#.#")).item() == pytest.approx(1.0)


# empty masks, empty maps, signs --------------------------------------------------------------------------------------


def test_an_empty_mask_is_nan_and_never_a_hit() -> None:
    maps, masks = random_case(3)
    masks[2] = False
    for score in score_maps(maps, masks):
        assert score.isnan().tolist() == [False, False, True, False, False, False]
    for score in score_maps(torch.zeros(1, 2, 2), torch.zeros(1, 4, 4, dtype=torch.bool)):
        assert score.isnan().all()


def test_energy_refuses_negative_maps_or_counts_the_positive_part() -> None:
    maps = torch.tensor([[[3.0, -2.0, 1.0]]])
    mask = mask_of("##.")
    with pytest.raises(ValueError, match=r"must not be negative.*-2.*clamp=True"):
        energy_in_mask(maps, mask)
    with pytest.raises(ValueError, match="clamp=True"):
        score_maps(maps, mask)
    assert energy_in_mask(maps, mask, clamp=True).item() == pytest.approx(3 / 4)
    # Order is all that the other two scores need: they take signed maps, and clamp does not touch them.
    assert score_maps(-maps, mask, clamp=True).pointing.tolist() == [1.0]
    assert pointing_game(-maps, mask).tolist() == [1.0]
    assert score_maps(torch.tensor([[[-1.0, -2.0, -3.0]]]), mask, clamp=True).iou.tolist() == [1.0]


def test_a_map_without_mass_scores_like_a_constant_one() -> None:
    mask = mask_of("##..", "....")
    assert energy_in_mask(torch.zeros(1, 2, 4), mask).item() == pytest.approx(2 / 8)
    assert energy_in_mask(torch.full((1, 2, 4), -1.0), mask, clamp=True).item() == pytest.approx(2 / 8)


# properties -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_scores_stay_in_range_and_ignore_the_scale_of_the_map(seed: int) -> None:
    maps, masks = random_case(seed)
    scores = score_maps(maps, masks)
    for score in scores:
        assert ((score >= 0) & (score <= 1)).all()
    for factor in (2.0**-60, 2.0**60):
        for score, scaled in zip(scores, score_maps(maps * factor, masks), strict=True):
            torch.testing.assert_close(score, scaled)


@pytest.mark.parametrize("seed", range(3))
def test_iou_equals_counting_the_k_largest(seed: int) -> None:
    maps, masks = random_case(seed, h=20)
    for score, values, mask in zip(iou(maps, masks), maps.flatten(1), masks.flatten(1), strict=True):
        chosen = set(values.topk(int(mask.sum())).indices.tolist())
        truth = set(mask.nonzero().flatten().tolist())
        assert score.item() == pytest.approx(len(chosen & truth) / len(chosen | truth))


def test_mirrored_map_and_mask_score_the_same() -> None:
    maps, masks = random_case(4)
    for score, mirrored in zip(score_maps(maps, masks), score_maps(maps.flip(2), masks.flip(2)), strict=True):
        torch.testing.assert_close(score, mirrored)


# bad input ------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("score", [pointing_game, energy_in_mask, iou, score_maps])
def test_wrong_maps_and_masks_are_refused(score) -> None:
    maps, masks = torch.rand(2, 3, 3), torch.ones(2, 6, 6, dtype=torch.bool)
    for wrong in (maps[0], maps[:, None], torch.rand(2, 0, 3)):
        with pytest.raises(ValueError, match=r"maps must be \(b, h, w\)"):
            score(wrong, masks)
    with pytest.raises(TypeError, match="floating point"):
        score(maps.long(), masks)
    with pytest.raises(TypeError, match="masks must be bool"):
        score(maps, masks.float())
    for wrong in (masks[0], masks[:1], masks[:, None], masks[:, :0]):
        with pytest.raises(ValueError, match=r"masks must be \(b, H, W\)"):
            score(maps, wrong)
    with pytest.raises(ValueError, match=r"at least the maps' \(3, 3\); got \(2, 6\)"):
        score(maps, masks[:, :2])


@pytest.mark.parametrize("value", [NAN, math.inf, -math.inf])
def test_a_map_with_nan_or_inf_is_refused(value: float) -> None:
    maps = torch.rand(4, 3, 3)
    maps[2, 1, 1] = value
    for act in (lambda: enlarge(maps, (6, 6)), lambda: score_maps(maps, torch.ones(4, 3, 3, dtype=torch.bool))):
        with pytest.raises(ValueError, match=r"NaN or inf in 1 of 4, the first is number 2"):
            act()


# box_masks ------------------------------------------------------------------------------------------------------------


def test_box_masks_are_half_open() -> None:
    boxes = torch.tensor([[0, 1, 2, 3], [1, 0, 2, 4], [1, 1, 1, 3]])
    masks = box_masks(boxes, (2, 4))
    assert torch.equal(masks[:1], mask_of(".##.", ".##."))
    assert torch.equal(masks[1:2], mask_of("....", "####"))
    assert not masks[2].any()


@pytest.mark.parametrize("box", [[-1, 0, 1, 1], [0, 0, 5, 1], [0, 0, 1, 7], [2, 0, 1, 1], [0, 3, 1, 2], [0, -1, 1, 1]])
def test_box_masks_refuses_boxes_outside(box: list[int]) -> None:
    with pytest.raises(ValueError, match=r"bottom <= 4.*right <= 6") as error:
        box_masks(torch.tensor([[0, 0, 1, 1], box]), (4, 6))
    assert str(box) in str(error.value)


@pytest.mark.usefixtures("unchecked")
def test_box_masks_refuses_other_shapes() -> None:
    with pytest.raises(ValueError, match=r"boxes must be \(b, 4\)"):
        box_masks(torch.zeros(2, 3, dtype=torch.long), (4, 4))


# baselines ------------------------------------------------------------------------------------------------------------


def test_random_maps_are_reproducible_and_leave_the_global_state_alone() -> None:
    state = torch.random.get_rng_state()
    first = random_maps(4, (3, 5), seed=7)
    assert torch.equal(state, torch.random.get_rng_state())
    assert first.shape == (4, 3, 5)
    assert torch.equal(first, random_maps(4, (3, 5), seed=7))
    assert not torch.equal(first, random_maps(4, (3, 5), seed=8))
    assert len(first.unique()) == first.numel()


def test_random_maps_score_chance_and_smooth_ones_are_smooth() -> None:
    masks = torch.zeros(4000, 8, 8, dtype=torch.bool)
    masks[:, 2:6, 2:4] = True  # an eighth of the picture
    assert pointing_game(random_maps(4000, (8, 8), seed=0), masks).mean().item() == pytest.approx(1 / 8, abs=0.02)
    white, smooth = random_maps(100, (32, 32), seed=0), random_maps(100, (32, 32), seed=0, sigma=2.0)

    def step(maps: torch.Tensor) -> float:
        inner = maps[:, 6:-6, 6:-6]  # where the blur sees no border
        return (inner.diff(dim=2).std() / inner.std()).item()

    assert step(white) == pytest.approx(2**0.5, rel=0.02)  # neighbours independent
    # Noise blurred by a Gaussian has correlation exp(-d^2 / 4 sigma^2) at distance d.
    assert step(smooth) == pytest.approx((2 - 2 * math.exp(-1 / 16)) ** 0.5, rel=0.05)
    assert smooth.min() >= 0
    assert smooth.max() <= 1


def test_centre_prior_is_the_gaussian_it_says() -> None:
    maps = centre_prior(2, (4, 3), sigma=0.5)
    assert maps.shape == (2, 4, 3)
    assert maps[0, 1, 1].item() == pytest.approx(math.exp(-0.5 * (0.125 / 0.5) ** 2))
    assert maps[0, 0, 2].item() == pytest.approx(math.exp(-0.5 * ((0.375 / 0.5) ** 2 + (1 / 3 / 0.5) ** 2)))
    torch.testing.assert_close(maps, maps.flip(1).flip(2))
    maps[0] = 0  # its own memory: writing to one map leaves the other
    assert maps[1].min() > 0


def test_uniform_maps_sum_to_one() -> None:
    torch.testing.assert_close(uniform_maps(3, (4, 5)), torch.full((3, 4, 5), 1 / 20))


def test_blurred_brightness_by_hand() -> None:
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    torch.testing.assert_close(blurred_brightness(images, sigma=0.0), torch.full((1, 2, 2), 0.4))
    # One bright pixel far from the border becomes the normalised Gaussian, cut at three sigma.
    dot = torch.zeros(1, 1, 21, 21)
    dot[0, 0, 10, 10] = 1
    offset = torch.arange(-6, 7) / 2.0
    kernel = torch.exp(-0.5 * offset**2)
    kernel = kernel / kernel.sum()
    expected = torch.zeros(21, 21)
    expected[4:17, 4:17] = kernel[:, None] * kernel
    torch.testing.assert_close(blurred_brightness(dot, sigma=2.0)[0], expected)


def test_blurred_brightness_darkens_no_frame() -> None:
    torch.testing.assert_close(blurred_brightness(torch.full((1, 3, 6, 6), 0.7), sigma=4.0), torch.full((1, 6, 6), 0.7))


def test_blurred_brightness_same_for_uint8_and_float() -> None:
    images = torch.randint(0, 256, (2, 3, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    torch.testing.assert_close(
        blurred_brightness(images, sigma=1.0), blurred_brightness(images.float() / 255, sigma=1.0)
    )


@pytest.mark.usefixtures("unchecked")
def test_baselines_refuse_bad_input() -> None:
    with pytest.raises(ValueError, match=r"n must be at least 0.*n=-1"):
        uniform_maps(-1, (2, 2))
    with pytest.raises(ValueError, match=r"size=\(0, 2\)"):
        random_maps(1, (0, 2), seed=0)
    with pytest.raises(ValueError, match="sigma must be at least 0; got -1"):
        random_maps(1, (2, 2), seed=0, sigma=-1)
    with pytest.raises(ValueError, match="sigma must be above 0; got 0"):
        centre_prior(1, (2, 2), sigma=0)
    with pytest.raises(ValueError, match=r"images must be \(b, c, h, w\)"):
        blurred_brightness(torch.rand(3, 4, 4), sigma=1)
    for wrong in (torch.full((1, 3, 4, 4), -0.1), torch.full((1, 3, 4, 4), NAN), torch.ones(1, 3, 4, 4).long()):
        with pytest.raises(ValueError, match="before normalisation"):
            blurred_brightness(wrong, sigma=1)


# intervals ------------------------------------------------------------------------------------------------------------


def test_interval_leaves_nans_out_and_counts_them() -> None:
    values = torch.tensor([1.0, NAN, 0.0, 1.0, NAN])
    interval = cluster_interval(values, torch.tensor([3, 3, 5, 5, 9]))
    assert interval.mean == pytest.approx(2 / 3)
    assert interval[3:] == (3, 2, 2)  # three values, two clusters with a value, two left out


def test_interval_without_values_or_with_one_cluster_has_no_bounds() -> None:
    nothing = cluster_interval(torch.tensor([NAN, NAN]))
    assert math.isnan(nothing.mean)
    assert nothing[3:] == (0, 0, 2)
    one = cluster_interval(torch.tensor([0.2, 0.4]), torch.tensor([7, 7]))
    assert one.mean == pytest.approx(0.3)
    assert math.isnan(one.low)
    assert math.isnan(one.high)


def test_interval_is_reproducible_and_leaves_the_global_state_alone() -> None:
    values = torch.rand(50, generator=torch.Generator().manual_seed(0))
    state = torch.random.get_rng_state()
    first = cluster_interval(values, seed=1)
    assert torch.equal(state, torch.random.get_rng_state())
    assert first == cluster_interval(values, seed=1)
    assert first != cluster_interval(values, seed=2)
    assert first.low < first.mean < first.high


def test_interval_of_two_clusters_by_hand() -> None:
    # A resample of the clusters {0, 0, 0} and {1} is both of one (mean 0 or 1, a quarter each) or one of each (1/4).
    interval = cluster_interval(torch.tensor([0.0, 0.0, 0.0, 1.0]), torch.tensor([0, 0, 0, 1]), confidence=0.4)
    assert (interval.mean, interval.low, interval.high) == (0.25, 0.25, 0.25)
    wide = cluster_interval(torch.tensor([0.0, 0.0, 0.0, 1.0]), torch.tensor([0, 0, 0, 1]), confidence=0.9)
    assert (wide.low, wide.high) == (0.0, 1.0)


def test_interval_has_the_width_of_theory_for_equal_clusters() -> None:
    generator = torch.Generator().manual_seed(0)
    levels = torch.randn(400, generator=generator)
    values = (levels[:, None] + 0.1 * torch.randn(400, 5, generator=generator)).flatten()
    clusters = torch.arange(400).repeat_interleave(5)
    means = values.view(400, 5).mean(dim=1)
    interval = cluster_interval(values, clusters, resamples=4000)
    half = 1.96 * means.std(correction=0).item() / 400**0.5
    assert interval.high - interval.low == pytest.approx(2 * half, rel=0.06)
    # Taking the 2000 pictures as independent would claim less than half of that.
    naive = cluster_interval(values, resamples=4000)
    assert naive.high - naive.low < 0.6 * (interval.high - interval.low)


def test_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    generator = torch.Generator().manual_seed(3)
    clusters = torch.arange(60).repeat_interleave(4)
    held = 0
    for trial in range(200):
        effects = torch.randn(60, generator=generator)
        values = 0.5 + effects.repeat_interleave(4) + 0.3 * torch.randn(240, generator=generator)
        interval = cluster_interval(values, clusters, confidence=0.9, resamples=300, seed=trial)
        held += interval.low <= 0.5 <= interval.high
    assert 168 <= held <= 192  # 180 expected; two and a half standard deviations of a binomial count


def test_interval_does_not_depend_on_the_names_or_order_of_clusters() -> None:
    values, clusters = torch.arange(12.0), torch.arange(12) % 4
    first = cluster_interval(values, clusters)
    assert cluster_interval(values, clusters * 100 - 7) == first
    assert cluster_interval(values.flip(0), clusters.flip(0)) == pytest.approx(first)


def test_interval_takes_bools_and_many_clusters() -> None:
    interval = cluster_interval(torch.arange(20_000) % 4 == 0, resamples=300)
    assert interval.mean == 0.25
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * (0.25 * 0.75 / 20_000) ** 0.5, rel=0.15)


def test_interval_prints_three_digits() -> None:
    assert str(Interval(0.91234, 0.9, 0.95, 10, 5)) == "0.912 (0.900 to 0.950)"


@pytest.mark.usefixtures("unchecked")
def test_interval_refuses_bad_input() -> None:
    values = torch.rand(4)
    for bad_values, clusters in ((values.view(2, 2), None), (values, torch.arange(3))):
        with pytest.raises(ValueError, match=r"values and clusters must both be \(n,\)"):
            cluster_interval(bad_values, clusters)
    for options in ({"confidence": 0.0}, {"confidence": 1.0}, {"confidence": 95}, {"resamples": 0}):
        with pytest.raises(ValueError, match=r"confidence must be in \(0, 1\) and resamples at least 1"):
            cluster_interval(values, **options)
    with pytest.raises(ValueError, match="infinite"):
        cluster_interval(torch.tensor([1.0, math.inf]))


# best_level -----------------------------------------------------------------------------------------------------------


def test_best_level_takes_numbers_tensors_and_intervals() -> None:
    assert best_level([0.2, 0.9, 0.5]) == 1
    assert best_level([torch.tensor([1.0, 0.0]), torch.tensor([NAN, 0.6])]) == 1  # NaN out: .5 beside .6
    assert best_level([Interval(0.7, 0.1, 0.9, 9, 9), Interval(0.6, 0.5, 0.99, 9, 9)]) == 0
    assert best_level([0.5, 0.9, 0.9]) == 2  # of equals the deepest


def test_best_level_refuses_levels_without_a_score() -> None:
    for levels in ([], [0.5, torch.tensor([NAN])]):
        with pytest.raises(ValueError, match="at least one score for every level"):
            best_level(levels)


# compare_maps ---------------------------------------------------------------------------------------------------------


def comparison(n: int = 60) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pictures with one bright square anywhere, its mask, and clusters of three pictures."""
    generator = torch.Generator().manual_seed(0)
    top, left = torch.randint(0, 12, (2, n), generator=generator)
    masks = box_masks(torch.stack([top, left, top + 4, left + 4], dim=1), (16, 16))
    images = (masks[:, None] * 200).to(torch.uint8).expand(n, 3, 16, 16)
    return masks, images, torch.arange(n) // 3


BUILT_IN = ["random map", "centre prior", "blurred brightness", "uniform weights"]


def test_compare_maps_always_has_the_baselines() -> None:
    masks, images, clusters = comparison()
    named = {"level 1": masks.float(), "level 2": random_maps(60, (4, 4), seed=5)}
    rows = compare_maps(
        named, masks, clusters, images=images, baselines={"untrained network": uniform_maps(60, (2, 2))}
    )
    assert [row.name for row in rows] == ["level 1", "level 2", *BUILT_IN, "untrained network"]
    assert [row.baseline for row in rows] == [False, False, True, True, True, True, True]
    table = {row.name: row for row in rows}
    # The mask itself is perfect; the brightness of a lone bright square finds it; a constant map scores the area.
    assert table["level 1"][1:4] == ((1.0, 1.0, 1.0, 60, 20, 0),) * 3
    assert table["blurred brightness"].pointing.mean == 1.0
    for name in ("uniform weights", "untrained network"):
        assert table[name].pointing.mean == pytest.approx(16 / 256)
        assert table[name].energy.mean == pytest.approx(16 / 256)
        assert table[name].iou.mean == pytest.approx(16 / (2 * 256 - 16))
    assert table["random map"].energy.mean == pytest.approx(16 / 256, abs=0.02)
    assert table["random map"].pointing.mean < 0.2


def test_compare_maps_draws_the_random_map_at_the_size_of_the_coarsest() -> None:
    masks, images, _ = comparison()
    rows = compare_maps({"a": torch.rand(60, 8, 8), "b": torch.rand(60, 2, 4)}, masks, images=images, seed=3)
    expected = score_maps(random_maps(60, (2, 4), seed=3), masks)
    assert {row.name: row for row in rows}["random map"].energy.mean == pytest.approx(expected.energy.mean().item())


def test_compare_maps_counts_empty_masks_and_passes_options_on() -> None:
    masks, images, clusters = comparison()
    masks[:6] = False
    maps = {"signed": torch.randn(60, 4, 4, generator=torch.Generator().manual_seed(0))}
    with pytest.raises(ValueError, match="signed: maps must not be negative"):
        compare_maps(maps, masks, clusters, images=images)
    rows = compare_maps(maps, masks, clusters, images=images, clamp=True, confidence=0.5)
    wide = compare_maps(maps, masks, clusters, images=images, clamp=True, confidence=0.99)
    for row, other in zip(rows, wide, strict=True):
        assert row.pointing[3:] == (54, 18, 6)
        if row.name != "uniform weights":  # all its scores are equal
            assert other.energy.high - other.energy.low > row.energy.high - row.energy.low


def test_compare_maps_refuses_bad_names() -> None:
    masks, images, _ = comparison(6)
    with pytest.raises(ValueError, match="at least one map"):
        compare_maps({}, masks, images=images)
    with pytest.raises(ValueError, match="names must be used once; got random map"):
        compare_maps({"random map": masks.float()}, masks, images=images)
    with pytest.raises(ValueError, match="names must be used once; got mine"):
        compare_maps({"mine": masks.float()}, masks, images=images, baselines={"mine": masks.float()})


@pytest.mark.usefixtures("unchecked")
def test_compare_maps_names_the_map_that_does_not_fit() -> None:
    masks, images, _ = comparison(6)
    with pytest.raises(ValueError, match=r"level 2: masks must be .* each of 5 maps"):
        compare_maps({"level 1": masks.float(), "level 2": torch.rand(5, 4, 4)}, masks, images=images)
