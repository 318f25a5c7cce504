"""The kinds of hard attention that are compared: how each is built, looks, learns and is judged.

Each kind is one object, and nobody asks for its name: a new one is a class here and its line in ``KINDS``.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from .._utils.checks import check_count, check_option, is_number, is_whole
from ..metrics.localisation import box_masks, pointing_game
from ..models.builders import small_attention_net
from .glimpses import RecurrentAttention
from .model import HardAttention
from .relaxations import expected_corner, gumbel_softmax, mix_windows, straight_through, transformer_crop
from .seen import Expected, Reward, Seen, loss_and_rewards
from .windows import box_iou, check_size_of_window, crop, every_window, grid, heaviest_window, window_boxes


@dataclass(frozen=True)
class HardConfig:
    """Everything that decides a run, apart from the hardware.

    ``kind`` is a key of ``KINDS``. ``reward`` of a look is log p(label), p(label), or 1 for a right answer and 0 for a
    wrong one. (Beware of the first: a classifier that begins to read is often wrong and sure of it, which costs more
    than an empty window does, and the policy may learn to look away.) ``baseline`` as in ``hard.reinforce_loss``;
    "learned" is the model's own prediction. ``draws`` windows are drawn for each picture of a batch, by the kinds
    "hard", "salient" and "random". ``options`` go to the model.

    Raises: ValueError naming the field out of range; TypeError where ``window`` or ``options`` is of another type.
    """

    kind: str = "hard"
    steps: int = 1200
    batch_size: int = 64
    lr: float = 2e-3  # the peak of one cycle: a rise over the first tenth, then half a cosine
    weight_decay: float = 1e-4
    reward: Reward = "probability"
    baseline: Expected = "learned"
    entropy_weight: float = 0.01
    draws: int = 2  # one more costs little and halves the variance that the draw brings
    temperature: float = 1.0  # of "gumbel"
    window: tuple[int, int] = (18, 12)  # (height, width) in pixels; of a soft map the window that holds most is judged
    stride: int = 2  # pixels from window to window
    options: dict[str, Any] = field(default_factory=dict)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(map(repr, KINDS))}; got {self.kind!r}")
        check_option("reward", self.reward, Reward)
        check_option("baseline", self.baseline, Expected)
        for name in ("steps", "batch_size", "draws", "stride"):
            check_count(name, getattr(self, name))
        for name in ("lr", "temperature"):
            value = getattr(self, name)
            if not is_number(value) or not 0 < value < math.inf:
                raise ValueError(f"{name} must be above 0 and finite; got {value!r}")
        for name in ("weight_decay", "entropy_weight"):
            value = getattr(self, name)
            if not is_number(value) or not 0 <= value < math.inf:
                raise ValueError(f"{name} must be at least 0 and finite; got {value!r}")
        if not is_whole(self.seed):
            raise ValueError(f"seed must be a whole number of at least 0; got {self.seed!r}")
        if not isinstance(self.window, tuple):
            raise TypeError(f"window must be (height, width) in pixels; got {self.window!r}")
        check_size_of_window(self.window, "window")
        if not isinstance(self.options, dict):
            raise TypeError(f"options must be a dict of options for the model; got {self.options!r}")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "HardConfig":
        """The config that ``asdict`` gave, perhaps by way of JSON and before a field was added."""
        return cls(**{**values, "window": tuple(values.get("window", cls.window))})


# --- what all kinds have ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class HardKind:
    """A way to find the place to look at, in one window of ``HardAttention`` unless said otherwise."""

    about: str

    def build(self, config: HardConfig, num_classes: int) -> nn.Module:
        """A fresh model, from the global random state."""
        if taken := {"size", "shrink"} & set(config.options):
            raise ValueError(f"options must leave {', '.join(sorted(taken))} to window and stride of the config")
        return HardAttention(num_classes, size=config.window, shrink=config.stride, **config.options)

    def look(
        self,
        model: Any,
        images: Tensor,
        config: HardConfig,
        chance: torch.Generator | None,
        lot: torch.Generator | None,
    ) -> Seen:
        """One forward pass, as ``kinds.look`` says: here, the window that the policy draws or finds most probable."""
        out = model.attend(images, generator=chance, draws=1 if chance is None else config.draws)
        return Seen(out.logits, out.boxes[:, None], out.log_prob[:, None], out.entropy[:, None], out.baseline[:, None])

    def loss(self, seen: Seen, labels: Tensor, config: HardConfig) -> tuple[Tensor, Tensor]:
        """The loss and the rewards of a batch, as ``kinds.loss_of`` says."""
        options: Any = {"reward": config.reward, "baseline": config.baseline, "entropy_weight": config.entropy_weight}
        return loss_and_rewards(seen, labels, **options)

    def places(
        self, model: Any, images: Tensor, seen: Seen, boxes: Int64[Tensor, "b 4"], config: HardConfig
    ) -> dict[str, Tensor]:
        """``hit``, ``hit_any`` and ``iou`` of every picture, as ``scoring.score`` says."""
        assert seen.boxes is not None
        middles = (seen.boxes[..., :2] + seen.boxes[..., 2:]) / 2
        inside = ((middles >= boxes[:, None, :2]) & (middles < boxes[:, None, 2:])).all(dim=2).float()
        return {"hit": inside[:, -1], "hit_any": inside.amax(dim=1), "iou": box_iou(seen.boxes[:, -1], boxes)}

    def shown(self, model: Any, images: Tensor, config: HardConfig, lot: torch.Generator) -> dict[str, Any]:
        """Where each picture is looked at, as plain lists."""
        boxes = self.look(model, images, config, None, lot).boxes
        return {"windows": None if boxes is None else boxes.tolist()}


# --- the kinds --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Soft(HardKind):
    """Attention at three levels; judged by the deepest map."""

    compatibility: str

    def build(self, config: HardConfig, num_classes: int) -> nn.Module:
        compatibility: Any = self.compatibility
        return small_attention_net(num_classes, compatibility=compatibility, **config.options)

    def look(self, model: Any, images: Tensor, config: HardConfig, chance: Any, lot: Any) -> Seen:
        return Seen(model(images))

    def places(self, model: Any, images: Tensor, seen: Seen, boxes: Tensor, config: HardConfig) -> dict[str, Tensor]:
        size = (images.shape[2], images.shape[3])
        weights = model.attend(images).attended[-1].weights
        hit = pointing_game(weights, box_masks(boxes, size))
        if self.compatibility == "uniform":  # equal weights favour no window
            windows = every_window(size, config.window, config.stride).to(boxes.device)
            every = [box_iou(window.expand(len(boxes), 4), boxes) for window in windows]
            return {"hit": hit, "iou": torch.stack(every).mean(dim=0)}
        maps = functional.interpolate(weights[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]
        corners = heaviest_window(maps, config.window, stride=config.stride)
        return {"hit": hit, "iou": box_iou(window_boxes(corners, config.window), boxes)}

    def shown(self, model: Any, images: Tensor, config: HardConfig, lot: Any) -> dict[str, Any]:
        weights = model.attend(images).attended[-1].weights
        return {"weights": [[[round(w, 4) for w in row] for row in map] for map in weights.tolist()]}


class Random(HardKind):
    """A window by lot, at test time too."""

    def look(self, model: Any, images: Tensor, config: HardConfig, chance: Any, lot: Any) -> Seen:
        size, stride = model.size, model.stride
        rows, columns = grid((images.shape[2], images.shape[3]), size, stride)
        images = images.repeat(1 if chance is None else config.draws, 1, 1, 1)
        index = torch.randint(rows * columns, (len(images),), generator=chance or lot).to(images.device)
        corners = torch.stack([index // columns, index % columns], dim=1) * stride
        return Seen(model.classifier(crop(images, corners, size)), window_boxes(corners, size)[:, None])


class Salient(HardKind):
    """The window that an untrained policy draws: without log-probabilities nothing trains it."""

    def look(self, model: Any, images: Tensor, config: HardConfig, chance: Any, lot: Any) -> Seen:
        return super().look(model, images, config, chance, lot)._replace(log_prob=None, entropy=None, baseline=None)


@dataclass(frozen=True)
class Mixed(HardKind):
    """All windows laid over each other in training, by ``weights`` of their scores; at test time the best alone."""

    weights: Callable[[Tensor, HardConfig, torch.Generator], Tensor]

    def look(self, model: Any, images: Tensor, config: HardConfig, chance: Any, lot: Any) -> Seen:
        if chance is None:
            return super().look(model, images, config, chance, lot)
        weights = self.weights(model.policy(images), config, chance)
        return Seen(model.classifier(mix_windows(images, weights, model.size, stride=model.stride)))


class Transformer(HardKind):
    """A window at the mean corner, read between the pixels."""

    def look(self, model: Any, images: Tensor, config: HardConfig, chance: Any, lot: Any) -> Seen:
        place = expected_corner(model.policy(images), stride=model.stride)
        boxes = window_boxes(place.detach().round().long(), model.size)
        return Seen(model.classifier(transformer_crop(images, place, model.size)), boxes[:, None])


class Glimpses(HardKind):
    """Several places, one after another."""

    def build(self, config: HardConfig, num_classes: int) -> nn.Module:
        return RecurrentAttention(num_classes, **config.options)

    def look(self, model: Any, images: Tensor, config: HardConfig, chance: Any, lot: Any) -> Seen:
        seen = model.attend(images, generator=chance)
        return Seen(seen.logits, seen.boxes, seen.log_prob, seen.entropy, seen.baseline, seen.answers)


KINDS: dict[str, HardKind] = {
    "soft": Soft("the small network of this book, pc with softmax at three levels", "pc"),
    "uniform": Soft("its control: the same network with uniform weights", "uniform"),
    "hard": HardKind("one window, chosen by REINFORCE"),
    "random": Random("its control: one window drawn by lot, the same classifier"),
    "salient": Salient("its control: one window drawn by saliency, as the untrained policy does, the same classifier"),
    "gumbel": Mixed(
        "one window, trained through Gumbel-softmax weights",
        lambda scores, config, chance: gumbel_softmax(scores, temperature=config.temperature, generator=chance),
    ),
    "straight_through": Mixed(
        "one window, trained by the straight-through derivative",
        lambda scores, config, chance: straight_through(scores, generator=chance),
    ),
    "transformer": Transformer("one window between the pixels, trained through interpolation"),
    "glimpses": Glimpses("the recurrent attention model"),
}


# --- by name ----------------------------------------------------------------------------------------------------------


def build_model(config: HardConfig, num_classes: int) -> nn.Module:
    """A fresh model of ``config.kind``, from the global random state."""
    return KINDS[config.kind].build(config, num_classes)


def look(
    model: nn.Module,
    images: Float[Tensor, "b c h w"],
    config: HardConfig,
    chance: torch.Generator | None = None,
    *,
    lot: torch.Generator | None = None,
) -> Seen:
    """One forward pass, as the kind looks: with ``chance`` as in training, without as at test time.

    ``lot`` draws the windows of kind "random" at test time.
    """
    return KINDS[config.kind].look(model, images, config, chance, lot)


def loss_of(seen: Seen, labels: Int64[Tensor, " n"], config: HardConfig) -> tuple[Float[Tensor, ""], Tensor]:
    """The loss of a batch, and the rewards (b,) of its last answers, as ``hard.loss_and_rewards``."""
    return KINDS[config.kind].loss(seen, labels, config)
