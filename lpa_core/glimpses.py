"""Several glimpses: the recurrent attention model, with the networks named as by Mnih et al. (2014).

At each step a *glimpse sensor* cuts patches of several scales around one place, sharp in the middle and coarse around
it; a *glimpse network* turns patches and place into a vector; a *core network* keeps a memory of what was seen; from
the memory a *location network* draws the next place, and an *action network* classifies. A *baseline network* predicts
the reward from the memory. The places are trained by REINFORCE, the rest by
backpropagation. No step looks at the whole picture at full resolution.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from .attention import check_count
from .hard import Choice, choose, crop
from .trunks import check_images, conv_bn_relu


class GlimpseOutput(NamedTuple):
    """What T glimpses gave: the answer after each; each place; its patch; log p of each drawn place; the baselines.

    ``logits`` are the last of ``answers``.
    ``places`` are (row, column) from -1 to 1, edge to edge; ``boxes`` the finest patch of each glimpse in pixels (top,
    left, bottom, right; half-open), which may reach beyond the picture. The first place is always the centre, so
    ``log_prob``, ``entropy`` and ``baseline`` have T - 1 columns, one for each choice.
    """

    logits: Float[Tensor, "b classes"]
    answers: Float[Tensor, "b t classes"]
    places: Float[Tensor, "b t 2"]
    boxes: Int64[Tensor, "b t 4"]
    log_prob: Float[Tensor, "b s"]
    entropy: Float[Tensor, "b s"]
    baseline: Float[Tensor, "b s"]


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

    def __init__(self, size: int = 10, scales: int = 3) -> None:
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
    """Where to look next: one of ``grid`` x ``grid`` places, drawn by softmax(W ReLU(W' h)), or the most probable.

    ``hard.choose`` makes the choice: the draw is detached before its log-probability is taken. At the start every place
    is equally probable.

    Differs from Mnih et al. (2014), who draw around a mean, N(tanh(W h), std^2): a softmax begins everywhere, and can
    hesitate between two places without looking between them.
    """

    def __init__(self, hidden: int, grid: int) -> None:
        super().__init__()
        self.grid = grid
        self.scores = nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, grid**2))
        nn.init.zeros_(self.scores[2].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.scores[2].bias)  # type: ignore[arg-type]

    def forward(
        self, memory: Float[Tensor, "b hidden"], generator: torch.Generator | None = None
    ) -> tuple[Float[Tensor, "b 2"], Choice]:
        choice = choose(self.scores(memory).view(-1, self.grid, self.grid), generator=generator)
        return (choice.corners.to(memory.dtype) + 0.5) * (2 / self.grid) - 1, choice


class ActionNetwork(nn.Linear):
    """What it is: the logits of the classes, from the memory."""


class BaselineNetwork(nn.Linear):
    """What reward to expect, from the memory (detached: the memory is not made for the baseline's sake)."""

    def forward(self, memory: Tensor) -> Tensor:
        return super().forward(memory.detach())[:, 0]


class RecurrentAttention(nn.Module):
    """The recurrent attention model: ``glimpses`` looks at one picture, then an answer.

    Args:
        num_classes: K.
        glimpses: T, how many; the first is at the centre.
        size, scales: of the ``GlimpseSensor``.
        hidden: length of the memory.
        grid: places to choose from, each way.

    ``model(images)`` takes the most probable places; ``attend`` says also where it looked.

    Differs from Mnih et al. (2014): the first place is the centre, not drawn; convolutions in the glimpse network; a
    softmax over places in the location network; an answer after every glimpse, of which the last counts.

    Source: Mnih et al. (2014), sections 3 and 4.
    Raises: ValueError naming the argument out of range.
    """

    def __init__(
        self,
        num_classes: int = 10,
        *,
        glimpses: int = 4,
        size: int = 10,
        scales: int = 3,
        hidden: int = 128,
        grid: int = 8,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        counts = {"num_classes": num_classes, "glimpses": glimpses, "hidden": hidden, "grid": grid}
        for name, value in {**counts, "in_channels": in_channels}.items():
            check_count(name, value)
        self.num_classes, self.glimpses, self.hidden, self.in_channels = num_classes, glimpses, hidden, in_channels
        sensor = GlimpseSensor(size, scales)
        if size % 2 or size < 4:
            raise ValueError(f"size must be an even number of at least 4; got {size}")
        self.glimpse_network = GlimpseNetwork(sensor, hidden, in_channels=in_channels)
        self.core_network = CoreNetwork(hidden)
        self.location_network = LocationNetwork(hidden, grid)
        self.action_network = ActionNetwork(hidden, num_classes)
        self.baseline_network = BaselineNetwork(hidden, 1)

    def attend(self, images: Float[Tensor, "b c h w"], *, generator: torch.Generator | None = None) -> GlimpseOutput:
        """Look T times and classify. With a ``generator`` the places are drawn (training), else the most probable."""
        check_images(images, self.in_channels)
        place, memory = images.new_zeros(len(images), 2), images.new_zeros(len(images), self.hidden)
        places, answers, choices, baselines = [place], [], [], []
        for step in range(self.glimpses):
            memory = self.core_network(self.glimpse_network(images, place), memory)
            answers.append(self.action_network(memory))
            if step + 1 < self.glimpses:
                place, choice = self.location_network(memory, generator)
                places.append(place)
                choices.append(choice)
                baselines.append(self.baseline_network(memory))
        none = images.new_zeros(len(images), 0)
        side, picture = self.glimpse_network.sensor.size, (images.shape[2], images.shape[3])
        return GlimpseOutput(
            answers[-1],
            torch.stack(answers, dim=1),
            torch.stack(places, dim=1),
            torch.stack([patch_boxes(p, picture, side) for p in places], dim=1),
            torch.stack([c.log_prob for c in choices], dim=1) if choices else none,
            torch.stack([c.entropy for c in choices], dim=1) if choices else none,
            torch.stack(baselines, dim=1) if baselines else none,
        )

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b classes"]:
        return self.attend(images).logits
