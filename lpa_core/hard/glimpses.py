"""Several glimpses: the recurrent attention model, with the networks named as by Mnih et al. (2014).

At each step a *location network* chooses a place, a *glimpse sensor* cuts patches of several scales around it, sharp in
the middle and coarse around it, a *glimpse network* turns patches and place into a vector, a *core network* keeps a
memory of what was seen, and an *action network* answers. A *baseline network* predicts the reward from the memory. The
places are trained by REINFORCE, the rest by backpropagation. No step sees the whole picture at full resolution.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from .._utils.checks import check_count
from ..attention import dot_scores
from ..models.trunk import check_images, conv_bn_relu
from .reinforce import Choice, choose
from .windows import check_window, crop, window_saliency


class GlimpseOutput(NamedTuple):
    """What T glimpses gave: the answer after each; each place and its patch; and what REINFORCE needs of each choice.

    ``logits`` are the last of ``answers``. ``places`` are (row, column) from -1 to 1, edge to edge; ``boxes`` the
    finest patch of each glimpse in pixels (top, left, bottom, right; half-open), which may reach beyond the picture.
    """

    logits: Float[Tensor, "b classes"]
    answers: Float[Tensor, "b t classes"]
    places: Float[Tensor, "b t 2"]
    boxes: Int64[Tensor, "b t 4"]
    log_prob: Float[Tensor, "b t"]
    entropy: Float[Tensor, "b t"]
    baseline: Float[Tensor, "b t"]


def patch_boxes(places: Float[Tensor, "b 2"], picture: tuple[int, int], side: int) -> Int64[Tensor, "b 4"]:
    """Squares of ``side`` pixels centred on ``places`` (-1 to 1), moved to whole pixels: top, left, bottom, right."""
    centre = (places + 1) / 2 * places.new_tensor(picture)
    corner = (centre - side / 2).round().long()
    return torch.cat([corner, corner + side], dim=1)


class GlimpseSensor(nn.Module):
    """Patches around a place, as a retina has them: (b, c, h, w) -> (b, scales * c, size, size).

    Scale k covers size * 2^k pixels each way and is averaged down to size x size. What lies beyond the picture is 0,
    the mean colour of a normalised picture.

    Source: Mnih et al. (2014), section 3.
    """

    def __init__(self, size: int = 12, scales: int = 2) -> None:
        super().__init__()
        check_count("size", size)
        check_count("scales", scales)
        self.size, self.scales = size, scales

    def forward(
        self, images: Float[Tensor, "b c h w"], places: Float[Tensor, "b 2"]
    ) -> Float[Tensor, "b k {self.size} {self.size}"]:
        patches, picture = [], (images.shape[2], images.shape[3])
        for scale in range(self.scales):
            side = self.size << scale
            margin = side // 2 + 1  # a patch centred on the edge still fits
            padded = functional.pad(images, (margin,) * 4)
            corners = patch_boxes(places, picture, side)[:, :2] + margin
            patches.append(functional.avg_pool2d(crop(padded, corners, (side, side)), 1 << scale))
        return torch.cat(patches, dim=1)


class GlimpseNetwork(nn.Module):
    """What was seen and where, in one vector: ReLU(what(patches) + where(place)).

    *What*: three convolutions, the same for every scale; their mean over each patch says what is there, wherever it
    lies in the patch, and a few channels laid out flat say where in the patch it is.

    Differs from Mnih et al. (2014): there *what* and *where* are linear layers and rectifiers.
    """

    def __init__(self, sensor: GlimpseSensor, hidden: int, *, in_channels: int = 3) -> None:
        super().__init__()
        self.sensor, self.in_channels = sensor, in_channels
        self.features = nn.Sequential(
            conv_bn_relu(in_channels, 24), nn.MaxPool2d(2), conv_bn_relu(24, 48), conv_bn_relu(48, 48)
        )
        self.layout = nn.Conv2d(48, 8, 1)
        self.what = nn.Linear(sensor.scales * (48 + 8 * (sensor.size // 2) ** 2), hidden)
        self.where = nn.Sequential(nn.Linear(2, hidden), nn.ReLU(), nn.Linear(hidden, hidden))

    def forward(self, images: Float[Tensor, "b c h w"], places: Float[Tensor, "b 2"]) -> Float[Tensor, "b hidden"]:
        patches = self.sensor(images, places)
        seen = self.features(patches.unflatten(1, (self.sensor.scales, self.in_channels)).flatten(0, 1))
        each = torch.cat([seen.mean(dim=(2, 3)), self.layout(seen).flatten(1)], dim=1)
        return functional.relu(self.what(each.view(len(images), -1)) + self.where(places))


class CoreNetwork(nn.Module):
    """The memory: h_t = ReLU(W_h h_{t-1} + W_g g_t)."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.from_memory, self.from_glimpse = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden)

    def forward(self, glimpse: Float[Tensor, "b hidden"], memory: Float[Tensor, "b hidden"]) -> Tensor:
        return functional.relu(self.from_memory(memory) + self.from_glimpse(glimpse))


class LocationNetwork(nn.Module):
    """Where to look next, from the memory h and a coarse view of the picture: s_k = <u + W h, key_k>.

    The view averages ``shrink`` x ``shrink`` pixels; convolutions make one key for each window of ``reach`` x ``reach``
    cells, of 8 numbers, and its saliency is a ninth. What to look for, u + W h, may change with what was seen: it is a
    query, as in dot-product attention. The place is the middle of the window that ``hard.choose`` draws by softmax(s).
    At the start W is 0 and u asks for the saliency alone, ``saliency`` times: see ``hard.CropPolicy`` for the reason.

    Differs from Mnih et al. (2014), who draw around a mean, N(tanh(W h), std^2), and see the picture through glimpses
    alone: a softmax can hesitate between two places without looking between them.
    """

    def __init__(
        self, hidden: int, *, shrink: int = 2, reach: int = 9, in_channels: int = 3, saliency: float = 2.0
    ) -> None:
        super().__init__()
        self.shrink, self.reach = shrink, reach
        self.features = nn.Sequential(
            nn.AvgPool2d(shrink), conv_bn_relu(in_channels, 16), conv_bn_relu(16, 32), conv_bn_relu(32, 32)
        )
        self.keys = nn.Conv2d(32, 8, reach)
        self.query = nn.Linear(hidden, 9)
        nn.init.zeros_(self.query.weight)
        nn.init.zeros_(self.query.bias)
        with torch.no_grad():
            self.query.bias[-1] = saliency

    def view(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 9 rows columns"]:
        """The keys of all windows: computed once a picture, however many glimpses follow."""
        size = (self.shrink * self.reach,) * 2
        check_window(size, images.shape[-2:])
        stands_out = window_saliency(images, size, stride=self.shrink)
        return torch.cat([self.keys(self.features(images)), stands_out[:, None]], dim=1)

    def forward(
        self,
        keys: Float[Tensor, "b 9 rows columns"],
        memory: Float[Tensor, "b hidden"],
        picture: tuple[int, int],
        generator: torch.Generator | None = None,
    ) -> tuple[Float[Tensor, "b 2"], Choice]:
        choice = choose(dot_scores(keys, self.query(memory)), stride=self.shrink, generator=generator)
        middle = choice.corners.to(memory.dtype) + self.shrink * self.reach / 2
        return middle * 2 / middle.new_tensor(picture) - 1, choice


class ActionNetwork(nn.Linear):
    """What it is: the logits of the classes, from the memory."""


class BaselineNetwork(nn.Linear):
    """What reward to expect, from the memory (detached: the memory is not made for the baseline's sake)."""

    def forward(self, memory: Tensor) -> Tensor:
        return super().forward(memory.detach())[:, 0]


class RecurrentAttention(nn.Module):
    """The recurrent attention model: ``glimpses`` looks at one picture, then an answer.

    Args:
        num_classes: the number of classes, K.
        glimpses: T, how many.
        size, scales: of the ``GlimpseSensor``.
        hidden: length of the memory, which begins empty (all zero).

    ``model(images)`` takes the most probable places; ``attend`` says also where it looked.

    Differs from Mnih et al. (2014): the ``LocationNetwork``, also for the first place, which is random there;
    convolutions in the ``GlimpseNetwork``; an answer after every glimpse, of which the last counts.

    Source: Mnih et al. (2014), sections 3 and 4.
    Raises: ValueError naming the argument out of range; pictures smaller than 18x18.
    """

    def __init__(
        self,
        num_classes: int = 10,
        *,
        glimpses: int = 3,
        size: int = 12,
        scales: int = 2,
        hidden: int = 128,
        shrink: int = 2,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        counts = {"num_classes": num_classes, "glimpses": glimpses, "hidden": hidden, "shrink": shrink}
        for name, value in {**counts, "in_channels": in_channels}.items():
            check_count(name, value)
        sensor = GlimpseSensor(size, scales)
        if size % 2:
            raise ValueError(f"size must be an even number; got {size}")
        self.num_classes, self.glimpses, self.hidden, self.in_channels = num_classes, glimpses, hidden, in_channels
        self.glimpse_network = GlimpseNetwork(sensor, hidden, in_channels=in_channels)
        self.core_network = CoreNetwork(hidden)
        self.location_network = LocationNetwork(hidden, shrink=shrink, in_channels=in_channels)
        self.action_network = ActionNetwork(hidden, num_classes)
        self.baseline_network = BaselineNetwork(hidden, 1)

    def attend(self, images: Float[Tensor, "b c h w"], *, generator: torch.Generator | None = None) -> GlimpseOutput:
        """Look T times and answer. With a ``generator`` the places are drawn (training), else the most probable."""
        check_images(images, self.in_channels)
        picture = (images.shape[2], images.shape[3])
        memory, keys = images.new_zeros(len(images), self.hidden), self.location_network.view(images)
        places, choices, baselines, answers = [], [], [], []
        for _ in range(self.glimpses):
            baselines.append(self.baseline_network(memory))
            place, choice = self.location_network(keys, memory, picture, generator)
            memory = self.core_network(self.glimpse_network(images, place), memory)
            answers.append(self.action_network(memory))
            places.append(place)
            choices.append(choice)
        side = self.glimpse_network.sensor.size
        return GlimpseOutput(
            answers[-1],
            torch.stack(answers, dim=1),
            torch.stack(places, dim=1),
            torch.stack([patch_boxes(p, picture, side) for p in places], dim=1),
            torch.stack([c.log_prob for c in choices], dim=1),
            torch.stack([c.entropy for c in choices], dim=1),
            torch.stack(baselines, dim=1),
        )

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b classes"]:
        return self.attend(images).logits

    def positions(self, height: int, width: int) -> int:
        """At how many places numbers of one picture are read: cells of the coarse view, pixels of all patches."""
        sensor, shrink = self.glimpse_network.sensor, self.location_network.shrink
        return (height // shrink) * (width // shrink) + self.glimpses * sensor.scales * sensor.size**2
