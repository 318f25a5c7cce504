"""Scores of maps against masks, by hand and by properties."""

import math

import jaxtyping
import pytest
import torch

from lpa_core.metrics.localisation import (
    box_masks,
    energy_in_mask,
    enlarge,
    iou,
    pointing_game,
    relevance_rank_accuracy,
    score_maps,
)

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


def test_relevance_rank_accuracy_by_hand_and_beside_iou() -> None:
    maps = torch.tensor([[[1.0, 2.0, 3.0], [4.0, 6.0, 0.0]]])
    # Of the three largest, 6, 4 and 3, two lie in the mask of three.
    assert relevance_rank_accuracy(maps, mask_of(".##", ".#.")).item() == pytest.approx(2 / 3)
    assert relevance_rank_accuracy(torch.ones(1, 2, 3), mask_of("###", "##.")).item() == pytest.approx(5 / 6)  # chance
    assert relevance_rank_accuracy(maps, mask_of("...", "...")).isnan().all()
    maps, masks = random_case(0)
    share, overlap = relevance_rank_accuracy(maps, masks), iou(maps, masks)
    torch.testing.assert_close(overlap, share / (2 - share))
