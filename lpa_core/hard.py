"""Hard attention: look at one window and at nothing else.

A *policy* gives every window of a picture a score; one window is drawn by the softmax of the scores (or, at test time,
the most probable is taken), cut out, and only what lies in it is classified. The choice has no derivative, so the
policy is trained by REINFORCE: it makes windows more probable that were followed by a better reward than expected.

Windows are named by their top-left corner (row, column) in pixels; their size is (height, width). With ``stride`` s
the corners are (0, 0), (0, s), ..., (s, 0), ...: a grid of ``rows`` x ``columns`` windows. The relaxations, which put
something smooth in the place of the choice, are in ``relaxed``; several glimpses are in ``glimpses``.
"""

from typing import Literal, NamedTuple, get_args

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from .attention import check_count
from .trunks import check_images, conv_bn_relu

Baseline = Literal["none", "mean"]


# Windows --------------------------------------------------------------------------------------------------------------


def crop(
    images: Float[Tensor, "b c h w"], corners: Int64[Tensor, "b 2"], size: tuple[int, int]
) -> Float[Tensor, "b c H W"]:
    """Cut one window from each picture: out[i, :, y, x] = images[i, :, y + top_i, x + left_i].

    ``corners`` are (top, left) in pixels, ``size`` is (H, W). All windows at once: a view of every window that there
    is, indexed by the corners. The result has a derivative with respect to the pixels and none with respect to the
    corners, which are whole numbers.

    Raises: ValueError on a window larger than the picture, or one that leaves it.
    """
    check_window(size, images.shape[-2:])
    if corners.shape != (len(images), 2):
        raise ValueError(f"corners must be ({len(images)}, 2), one (top, left) a picture; got {tuple(corners.shape)}")
    last = corners.new_tensor([images.shape[2] - size[0], images.shape[3] - size[1]])
    if bool(((corners < 0) | (corners > last)).any()):
        raise ValueError(f"corners must be from (0, 0) to {tuple(last.tolist())}; got {corners.tolist()}")
    windows = images.unfold(2, size[0], 1).unfold(3, size[1], 1)  # (b, c, tops, lefts, H, W), nothing is copied
    return windows[torch.arange(len(images), device=images.device), :, corners[:, 0], corners[:, 1]]


def grid(picture: tuple[int, int], size: tuple[int, int], stride: int) -> tuple[int, int]:
    """How many windows fit, (rows, columns). Raises: ValueError on a window larger than the picture."""
    check_window(size, picture)
    check_count("stride", stride)
    return (picture[0] - size[0]) // stride + 1, (picture[1] - size[1]) // stride + 1


def window_boxes(corners: Int64[Tensor, "b 2"], size: tuple[int, int]) -> Int64[Tensor, "b 4"]:
    """Windows as boxes: top, left, bottom, right in pixels, half-open, as ``ImageSet.boxes`` has them."""
    return torch.cat([corners, corners + corners.new_tensor(size)], dim=1)


def box_iou(boxes: Int64[Tensor, "b 4"], others: Int64[Tensor, "b 4"]) -> Float[Tensor, " b"]:
    """Intersection over union of pairs of boxes (top, left, bottom, right; half-open), in [0, 1].

    Raises: ValueError on a box without area or tensors of different shape.
    """
    if boxes.shape != others.shape:
        raise ValueError(f"boxes and others must be of one shape; got {tuple(boxes.shape)} and {tuple(others.shape)}")
    areas = []
    for name, each in (("boxes", boxes), ("others", others)):
        sides = each[:, 2:] - each[:, :2]
        if bool((sides < 1).any()):
            raise ValueError(f"{name} must be top, left, bottom, right with some area; got {each.tolist()}")
        areas.append(sides.prod(dim=1))
    shared = (torch.minimum(boxes[:, 2:], others[:, 2:]) - torch.maximum(boxes[:, :2], others[:, :2])).clamp(min=0)
    inside = shared.prod(dim=1)
    return inside / (areas[0] + areas[1] - inside)


def heaviest_window(maps: Float[Tensor, "b h w"], size: tuple[int, int], *, stride: int = 1) -> Int64[Tensor, "b 2"]:
    """The corner of the window that holds most of each map (of the picture's size): what a soft map would crop.

    The first of equal windows is taken. Raises: ValueError on a window larger than the map.
    """
    _, columns = grid((maps.shape[1], maps.shape[2]), size, stride)
    inside = nn.functional.avg_pool2d(maps[:, None].double(), size, stride)
    best = inside.flatten(1).argmax(dim=1)
    return torch.stack([best // columns, best % columns], dim=1) * stride


def saliency(
    images: Float[Tensor, "b c h w"], size: tuple[int, int], *, stride: int = 1
) -> Float[Tensor, "b rows columns"]:
    """How much every window differs from its picture's mean colour: without learning, a first guess where to look.

    d = mean over channels of ``|x - mean(x)|``, on the picture averaged over ``stride`` x ``stride`` pixels; its mean
    over each window, less their mean and divided by their standard deviation over all windows of the picture. A plain
    picture gives 0 everywhere. ``size`` must be a multiple of ``stride``.

    Raises: ValueError on a window larger than the picture.
    """
    rows, columns = grid((images.shape[2], images.shape[3]), size, stride)
    view = nn.functional.avg_pool2d(images, stride)
    differs = (view - view.mean(dim=(2, 3), keepdim=True)).abs().mean(dim=1, keepdim=True)
    windows = nn.functional.avg_pool2d(differs, (size[0] // stride, size[1] // stride), 1)[:, 0, :rows, :columns]
    centred = windows - windows.mean(dim=(1, 2), keepdim=True)
    return centred / (centred.square().mean(dim=(1, 2), keepdim=True).sqrt() + 1e-6)


# The choice -----------------------------------------------------------------------------------------------------------


class Choice(NamedTuple):
    """Chosen windows: corners (top, left); log pi(window), which has a derivative; and the entropy of pi in nats."""

    corners: Int64[Tensor, "b 2"]
    log_prob: Float[Tensor, " b"]
    entropy: Float[Tensor, " b"]


def choose(
    scores: Float[Tensor, "b rows columns"], *, stride: int = 1, generator: torch.Generator | None = None
) -> Choice:
    """Choose one window a picture by pi = softmax(scores): drawn with a ``generator``, the most probable without.

    pi(k) = exp(s_k) / sum_j exp(s_j) over all windows of a picture. The draw itself carries no derivative: it is made
    first, from detached probabilities, and its log-probability is looked up afterwards. (Differentiating through the
    draw as well is a known mistake; it adds a term that has nothing to do with the reward.)

    Raises: ValueError on scores with NaN or inf.
    """
    check_count("stride", stride)
    if not bool(scores.isfinite().all()):
        raise ValueError("scores must be finite; got NaN or inf")
    log_pi = scores.flatten(1).log_softmax(dim=1)
    if generator is None:
        index = log_pi.argmax(dim=1)
    else:
        pi = log_pi.detach().exp()
        index = torch.multinomial(pi.to(generator.device), 1, generator=generator)[:, 0].to(scores.device)
    columns = scores.shape[2]
    corners = torch.stack([index // columns, index % columns], dim=1) * stride
    return Choice(corners, log_pi.gather(1, index[:, None])[:, 0], -(log_pi.exp() * log_pi).sum(dim=1))


def reinforce_loss(
    log_prob: Float[Tensor, " b"],
    reward: Float[Tensor, " b"],
    *,
    baseline: Baseline | Float[Tensor, " b"] = "none",
    entropy: Float[Tensor, " b"] | None = None,
    entropy_weight: float = 0.0,
) -> Float[Tensor, ""]:
    """A number whose gradient estimates minus that of the expected reward: -mean((R - b) log pi) - weight mean(H).

    grad E[R] = E[R grad log pi], because grad pi = pi grad log pi. Subtracting a baseline b that does not depend on
    the draw leaves the mean of the estimate as it is, since E[grad log pi] = 0, and lowers its variance.

    * ``baseline="none"``: b = 0.
    * ``"mean"``: for each sample, the mean reward of the *others* in the batch. (A mean that includes the sample
      itself would shrink the estimate by (n - 1) / n.)
    * a tensor (b,): a prediction of the reward from the picture alone. It is detached here: train it by its own
      squared error.

    ``reward`` is detached and may have any scale. With ``entropy_weight`` > 0 a bonus for the entropy keeps the policy
    from settling too early.

    Source: Williams (1992).
    Raises: ValueError on NaN or inf in ``reward`` or ``baseline``, on shapes that differ, on "mean" with one sample,
        an unknown baseline, or an ``entropy_weight`` below 0 or without ``entropy``.
    """
    _same_samples("reward", reward, log_prob)
    reward = reward.detach()
    if isinstance(baseline, Tensor):
        _same_samples("baseline", baseline, log_prob)
        expected = baseline.detach()
    elif baseline == "mean":
        if len(reward) < 2:
            raise ValueError(f"baseline='mean' compares with the other samples and needs 2 at least; got {len(reward)}")
        expected = (reward.sum() - reward) / (len(reward) - 1)
    elif baseline == "none":
        expected = torch.zeros_like(reward)
    else:
        raise ValueError(f"baseline must be {', '.join(map(repr, get_args(Baseline)))} or a tensor; got {baseline!r}")
    if not 0 <= entropy_weight < float("inf") or (entropy_weight and entropy is None):
        raise ValueError(f"entropy_weight must be at least 0, and needs entropy above 0; got {entropy_weight}")
    loss = -((reward - expected) * log_prob).mean()
    return loss if entropy is None else loss - entropy_weight * entropy.mean()


# The model ------------------------------------------------------------------------------------------------------------


class HardOutput(NamedTuple):
    """Logits of the chosen windows; the windows as boxes; log pi and entropy of the choice; the expected reward."""

    logits: Float[Tensor, "b classes"]
    boxes: Int64[Tensor, "b 4"]
    log_prob: Float[Tensor, " b"]
    entropy: Float[Tensor, " b"]
    baseline: Float[Tensor, " b"]


class CropPolicy(nn.Module):
    """A score for every window, from a coarse view of the picture: (b, c, h, w) -> (b, rows, columns).

    s_k = <learned pattern, features in window k> + ``gain`` * saliency_k. The picture is averaged over ``shrink`` x
    ``shrink`` pixels. Two convolutions find small features there, two more at half the resolution see a whole digit,
    and a last one, as large as a window, adds up what a learned pattern finds in each. One cell of the coarse view is
    one step of a window, so ``shrink`` is the stride. Pixels beyond the last whole cell are not looked at.

    The pattern begins at zero, so that an untrained policy goes by ``saliency`` alone: it tries windows in which there
    is something. ``gain``, itself learned, begins at the argument ``saliency``; 0 makes every window equally probable.
    (A classifier that is shown windows by lot sees a digit in one of ten and learns nothing for a long time; and while
    it knows nothing, no window is better than another.)

    Raises: ValueError on a size that is not a multiple of ``shrink``; a window larger than the picture; ``saliency``
        below 0.
    """

    def __init__(
        self,
        size: tuple[int, int],
        *,
        shrink: int = 2,
        channels: int = 32,
        in_channels: int = 3,
        saliency: float = 2.0,
    ) -> None:
        super().__init__()
        for name, value in (("shrink", shrink), ("channels", channels), ("in_channels", in_channels)):
            check_count(name, value)
        _check_size(size)
        if size[0] % shrink or size[1] % shrink:
            raise ValueError(f"size must be a multiple of shrink={shrink} both ways; got {size}")
        if not 0 <= saliency < float("inf"):
            raise ValueError(f"saliency must be at least 0 and finite; got {saliency}")
        self.size, self.shrink, self.in_channels = size, shrink, in_channels
        self.near = nn.Sequential(
            nn.AvgPool2d(shrink),
            conv_bn_relu(in_channels, channels // 2 or 1),
            conv_bn_relu(channels // 2 or 1, channels),
        )
        self.far = nn.Sequential(
            nn.MaxPool2d(2, ceil_mode=True),
            conv_bn_relu(channels, channels * 3 // 2),
            conv_bn_relu(channels * 3 // 2, channels * 3 // 2),
            nn.Conv2d(channels * 3 // 2, channels, 1),
        )
        self.score = nn.Conv2d(channels, 1, (size[0] // shrink, size[1] // shrink))
        nn.init.zeros_(self.score.weight)
        nn.init.zeros_(self.score.bias)  # type: ignore[arg-type]
        self.gain = nn.Parameter(torch.tensor(float(saliency)))
        self.expect = nn.Linear(channels, 1)

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b rows columns"]:
        return self.look(images)[0]

    def look(self, images: Float[Tensor, "b c h w"]) -> tuple[Float[Tensor, "b rows columns"], Float[Tensor, " b"]]:
        """The scores, and the reward to expect of this picture: the learned baseline, from detached features."""
        check_images(images, self.in_channels)
        check_window(self.size, images.shape[-2:])
        near = self.near(images)
        far = nn.functional.interpolate(self.far(near), size=near.shape[2:], mode="nearest")
        features = nn.functional.relu(near + far)
        scores = self.score(features)[:, 0] + self.gain * saliency(images, self.size, stride=self.shrink)
        return scores, self.expect(features.detach().mean(dim=(2, 3)))[:, 0]


class HardAttention(nn.Module):
    """A classifier that sees one window: policy, crop, classifier.

    Args:
        num_classes: K.
        size: (height, width) of the window in pixels.
        shrink: as in ``CropPolicy``; also the step from window to window.
        channels: of the policy; the classifier has 32 and 64.
        saliency: as in ``CropPolicy``.

    ``model(images)`` gives the logits of the most probable windows; ``attend`` says also where they are.

    Raises: ValueError naming the argument out of range; a window smaller than 8x8 or larger than the picture.
    """

    def __init__(
        self,
        num_classes: int = 10,
        *,
        size: tuple[int, int] = (18, 12),
        shrink: int = 2,
        channels: int = 32,
        in_channels: int = 3,
        saliency: float = 2.0,
    ) -> None:
        super().__init__()
        check_count("num_classes", num_classes)
        _check_size(size)
        if min(size) < 8:
            raise ValueError(f"size must be at least (8, 8) for this classifier; got {size}")
        self.size, self.stride, self.num_classes = size, shrink, num_classes
        self.policy = CropPolicy(size, shrink=shrink, channels=channels, in_channels=in_channels, saliency=saliency)
        self.classifier = window_classifier(num_classes, size, in_channels=in_channels)

    def attend(
        self, images: Float[Tensor, "b c h w"], *, generator: torch.Generator | None = None, draws: int = 1
    ) -> HardOutput:
        """Look and classify. With a ``generator`` the windows are drawn (training), without it they are the most
        probable (test).

        With ``draws`` > 1 the policy looks once and so many windows are drawn for each picture: the results have
        draws * b rows, all pictures and then all again, as ``Tensor.repeat`` does. More windows make the estimate of
        REINFORCE less noisy for the price of a classifier's pass.

        Raises: ValueError on ``draws`` below 1, or above 1 without a generator; as ``CropPolicy`` on images.
        """
        check_count("draws", draws)
        if draws > 1 and generator is None:
            raise ValueError(f"draws={draws} needs a generator; without one there is one most probable window")
        scores, expected = self.policy.look(images)
        if draws > 1:
            images, scores, expected = images.repeat(draws, 1, 1, 1), scores.repeat(draws, 1, 1), expected.repeat(draws)
        choice = choose(scores, stride=self.stride, generator=generator)
        logits = self.classifier(crop(images, choice.corners, self.size))
        boxes = window_boxes(choice.corners, self.size)
        return HardOutput(logits, boxes, choice.log_prob, choice.entropy, expected)

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b classes"]:
        return self.attend(images).logits


def window_classifier(num_classes: int, size: tuple[int, int], *, in_channels: int = 3) -> nn.Sequential:
    """A small network for small windows: two 3x3 convolutions of 32 and two of 64 channels, a pool after each pair."""
    return nn.Sequential(
        conv_bn_relu(in_channels, 32),
        conv_bn_relu(32, 32),
        nn.MaxPool2d(2),
        conv_bn_relu(32, 64),
        conv_bn_relu(64, 64),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * (size[0] // 4) * (size[1] // 4), num_classes),
    )


# Inside ---------------------------------------------------------------------------------------------------------------


def _check_size(size: tuple[int, int]) -> None:
    if len(size) != 2:
        raise ValueError(f"size must be (height, width); got {size!r}")
    for value in size:
        check_count("size", value)


def check_window(size: tuple[int, int], picture: tuple[int, ...]) -> None:
    """Raise ValueError unless a window of ``size`` fits in a ``picture`` of (h, w)."""
    _check_size(size)
    if size[0] > picture[0] or size[1] > picture[1]:
        raise ValueError(f"a window of {tuple(size)} is larger than the picture, {tuple(picture)}; take a smaller size")


def _same_samples(name: str, value: Tensor, log_prob: Tensor) -> None:
    if value.shape != log_prob.shape:
        raise ValueError(
            f"{name} must be {tuple(log_prob.shape)}, one number for each log_prob; got {tuple(value.shape)}"
        )
    if not bool(value.isfinite().all()):
        raise ValueError(f"{name} must be finite; got NaN or inf")
