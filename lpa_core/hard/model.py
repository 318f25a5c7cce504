"""Hard attention: look at one window and at nothing else.

A *policy* gives every window of a picture a score; one window is drawn by the softmax of the scores (or, at test time,
the most probable is taken), cut out, and only what lies in it is classified. The choice has no derivative, so the
policy is trained by REINFORCE: it makes windows more probable that were followed by a better reward than expected.

Windows are named by their top-left corner (row, column) in pixels; their size is (height, width). With ``stride`` s
the corners are (0, 0), (0, s), ..., (s, 0), ...: a grid of ``rows`` x ``columns`` windows. The relaxations, which put
something smooth in the place of the choice, are in ``relaxations``; several glimpses are in ``glimpses``.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from .._utils.checks import check_count
from ..models.trunk import check_images, conv_bn_relu
from .reinforce import choose
from .windows import check_size_of_window, check_window, crop, window_boxes, window_saliency


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

    The pattern begins at zero, so that an untrained policy goes by ``window_saliency`` alone: it tries windows in which
    there is something. ``gain``, itself learned, begins at the argument ``saliency``; 0 makes all equally probable.
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
        check_size_of_window(size)
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
        scores = self.score(features)[:, 0] + self.gain * window_saliency(images, self.size, stride=self.shrink)
        return scores, self.expect(features.detach().mean(dim=(2, 3)))[:, 0]


class HardAttention(nn.Module):
    """A classifier that sees one window: policy, crop, classifier.

    Args:
        num_classes: the number of classes, K.
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
        check_size_of_window(size)
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

    def positions(self, height: int, width: int) -> int:
        """At how many places numbers of one picture are read: cells of the coarse view, and pixels of the window."""
        return (height // self.stride) * (width // self.stride) + self.size[0] * self.size[1]


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
