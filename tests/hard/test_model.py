"""The policy, the window that it takes, and the classifier that sees nothing else."""

import math

import pytest
import torch
from torch import Tensor, nn

from lpa_core import hard


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def model(**options: object) -> hard.HardAttention:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return hard.HardAttention(4, **{"size": (8, 12), "channels": 4, **options})


def images(n: int = 5) -> Tensor:
    return torch.randn(n, 3, 24, 20, generator=chance(3))


def test_an_untrained_policy_goes_by_saliency_alone():
    scores = model().eval().policy(images())
    assert scores.shape == (5, 9, 5)  # (24 - 8) / 2 + 1, (20 - 12) / 2 + 1
    assert torch.equal(scores, 2 * hard.window_saliency(images(), (8, 12), stride=2))
    assert torch.equal(model(saliency=0.0).eval().policy(images()), torch.zeros(5, 9, 5))


def test_a_window_is_scored_by_what_lies_in_and_near_it():
    policy = model(saliency=0.0).eval().policy
    nn.init.normal_(policy.score.weight, generator=chance())
    tall = torch.randn(2, 3, 80, 20, generator=chance(3))
    before = policy(tall)
    changed = tall.clone()
    changed[:, :, 78:, 18:] += 5  # the last corner; the convolutions carry it less than 10 cells, 20 pixels, further
    same = (policy(changed) - before).abs().amax(dim=0) < 1e-6
    assert not same[-1, -1]
    assert same[:26].all()  # windows that end at row 58 or above are out of reach
    assert not same.all()


def test_logits_are_those_of_the_window_that_is_reported():
    net = model().eval()
    nn.init.normal_(net.policy.score.weight, generator=chance())
    for generator in (None, chance(7)):
        out = net.attend(images(), generator=generator)
        for i, (top, left, bottom, right) in enumerate(out.boxes.tolist()):
            alone = net.classifier(images()[i : i + 1, :, top:bottom, left:right])
            assert torch.allclose(out.logits[i], alone[0], atol=1e-5)
    assert torch.equal(net(images()), net.attend(images()).logits)


def test_pixels_outside_the_window_do_not_change_the_answer_to_it():
    net = model().eval()
    out = net.attend(images())
    outside = torch.ones(5, 1, 24, 20, dtype=torch.bool)
    for i, (top, left, bottom, right) in enumerate(out.boxes.tolist()):
        outside[i, :, top:bottom, left:right] = False
    blanked = images().masked_fill(outside, 0.0)
    corners = out.boxes[:, :2]
    assert torch.equal(net.classifier(hard.crop(blanked, corners, net.size)), out.logits)


def test_cross_entropy_alone_teaches_the_policy_nothing_and_reinforce_does():
    net = model()
    out = net.attend(images(), generator=chance())
    out.logits.logsumexp(dim=1).sum().backward()
    assert all(p.grad is None for p in net.policy.parameters())
    out = net.attend(images(), generator=chance())
    hard.reinforce_loss(out.log_prob, torch.arange(5.0)).backward()
    assert net.policy.score.weight.grad.norm() > 0


def test_the_learned_baseline_does_not_shape_the_features():
    net = model()
    net.attend(images()).baseline.sum().backward()
    assert net.policy.expect.weight.grad.norm() > 0
    assert all(p.grad is None for part in (net.policy.near, net.policy.far) for p in part.parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": (4, 12)}, r"size must be at least \(8, 8\)"),
        ({"size": (9, 12)}, "multiple of shrink=2"),
        ({"size": (8, 0)}, "size must be a whole number"),
        ({"shrink": 0}, "shrink"),
        ({"channels": 0}, "channels"),
        ({"num_classes": 0}, "num_classes"),
        ({"saliency": -1.0}, "saliency must be at least 0"),
        ({"saliency": math.nan}, "saliency must be at least 0"),
    ],
)
def test_model_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        hard.HardAttention(**options)


def test_a_window_larger_than_the_picture_is_refused():
    with pytest.raises(ValueError, match=r"window of \(8, 12\) is larger than the picture, \(24, 10\)"):
        model()(images()[..., :10])


def test_a_policy_learns_where_the_bright_square_is():
    """The whole loop on the smallest task there is: the reward is the brightness of the window."""
    gen = chance(0)
    net = model()
    optimiser = torch.optim.Adam(net.policy.parameters(), lr=0.01)

    def batch(n: int) -> tuple[Tensor, Tensor]:
        where = torch.stack([torch.randint(0, 9, (n,), generator=gen), torch.randint(0, 5, (n,), generator=gen)], 1) * 2
        shown = 0.1 * torch.randn(n, 3, 24, 20, generator=gen)
        for i, (top, left) in enumerate(where.tolist()):
            shown[i, :, top : top + 8, left : left + 12] += 1
        return shown, hard.window_boxes(where, (8, 12))

    for _ in range(120):
        shown, boxes = batch(32)
        choice = hard.choose(net.policy(shown), stride=2, generator=gen)
        reward = hard.box_iou(hard.window_boxes(choice.corners, (8, 12)), boxes)
        loss = hard.reinforce_loss(choice.log_prob, reward, baseline="mean")
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    shown, boxes = batch(200)
    net.eval()
    assert hard.box_iou(net.attend(shown).boxes, boxes).mean() > 0.75


def test_windows_are_a_pixel_apart_unless_said_otherwise():
    images = torch.randn(2, 3, 10, 8, generator=chance())
    assert hard.window_saliency(images, (4, 4)).shape == (2, 7, 5)
    assert torch.equal(hard.window_saliency(images, (4, 4)), hard.window_saliency(images, (4, 4), stride=1))
    assert hard.HardAttention().stride == hard.CropPolicy((18, 12)).shrink == 2


def test_the_layers_of_a_policy():
    def widths(policy: hard.CropPolicy) -> list[int]:
        return [module.out_channels for module in policy.modules() if isinstance(module, nn.Conv2d)]

    assert widths(hard.CropPolicy((4, 4), channels=1)) == [1, 1, 1, 1, 1, 1]
    policy = hard.CropPolicy((4, 4), channels=8)
    assert widths(policy) == [4, 8, 12, 12, 8, 1]
    near = policy.near(torch.rand(2, 3, 14, 12))
    assert near.shape == (2, 8, 7, 6)
    assert policy.far(near).shape == (2, 8, 4, 3)  # half the resolution; the odd row counts
