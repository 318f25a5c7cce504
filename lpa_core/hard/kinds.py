"""The kinds of hard attention that are compared: how each is built, looks and learns."""

import math
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from .._utils.checks import check_count, check_option, is_number, is_whole
from ..models.builders import small_attention_net
from .glimpses import RecurrentAttention
from .model import HardAttention
from .reinforce import reinforce_loss
from .relaxations import expected_corner, gumbel_softmax, mix_windows, straight_through, transformer_crop
from .windows import crop, grid, window_boxes

KINDS = {
    "soft": "the small network of this book, pc with softmax at three levels",
    "uniform": "its control: the same network with uniform weights",
    "hard": "one window, chosen by REINFORCE",
    "random": "its control: one window drawn by lot, the same classifier",
    "salient": "its control: one window drawn by saliency, as the untrained policy does, the same classifier",
    "gumbel": "one window, trained through Gumbel-softmax weights",
    "straight_through": "one window, trained by the straight-through derivative",
    "transformer": "one window between the pixels, trained through interpolation",
    "glimpses": "the recurrent attention model",
}
Kind = Literal["soft", "uniform", "hard", "random", "salient", "gumbel", "straight_through", "transformer", "glimpses"]
Reward = Literal["log_probability", "probability", "correct"]
Expect = Literal["none", "mean", "learned"]


@dataclass(frozen=True)
class HardConfig:
    """Everything that decides a run, apart from the hardware.

    ``reward`` of a look is log p(label), p(label), or 1 for a right answer and 0 for a wrong one. (Beware of the first:
    a classifier that begins to read is often wrong and sure of it, which costs more than an empty window does, and the
    policy may learn to look away.) ``baseline`` as in
    ``hard.reinforce_loss``; "learned" is the model's own prediction. ``draws`` windows are drawn for each picture of a
    batch, by the kinds "hard", "salient" and "random". ``options`` go to the model.

    Raises: ValueError naming the field out of range.
    """

    kind: Kind = "hard"
    steps: int = 1200
    batch_size: int = 64
    lr: float = 2e-3  # the peak of one cycle: a rise over the first tenth, then half a cosine
    weight_decay: float = 1e-4
    reward: Reward = "probability"
    baseline: Expect = "learned"
    entropy_weight: float = 0.01
    draws: int = 2  # one more costs little and halves the variance that the draw brings
    temperature: float = 1.0  # of "gumbel"
    options: dict[str, Any] = field(default_factory=dict)
    seed: int = 0

    def __post_init__(self) -> None:
        check_option("kind", self.kind, Kind)
        check_option("reward", self.reward, Reward)
        check_option("baseline", self.baseline, Expect)
        check_count("steps", self.steps)
        check_count("batch_size", self.batch_size)
        check_count("draws", self.draws)
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
        if not isinstance(self.options, dict):
            raise TypeError(f"options must be a dict of options for the model; got {self.options!r}")


class Look(NamedTuple):
    """What a kind of model did with a batch: logits, windows as boxes (b, t, 4) or None, and what REINFORCE needs.

    ``answers`` (b, t, classes), for glimpses: the logits after each; ``logits`` are the last. Where several windows
    were drawn for each picture, b counts all of them: all pictures, and then all again.
    """

    logits: Float[Tensor, "b classes"]
    boxes: Int64[Tensor, "b t 4"] | None = None
    log_prob: Float[Tensor, "b s"] | None = None
    entropy: Float[Tensor, "b s"] | None = None
    baseline: Float[Tensor, "b s"] | None = None
    answers: Float[Tensor, "b t classes"] | None = None


def build_model(config: HardConfig, num_classes: int) -> nn.Module:
    """A fresh model of ``config.kind``, from the global random state."""
    if config.kind in ("soft", "uniform"):
        compatibility: Any = "pc" if config.kind == "soft" else "uniform"
        return small_attention_net(num_classes, compatibility=compatibility, **config.options)
    if config.kind == "glimpses":
        return RecurrentAttention(num_classes, **config.options)
    return HardAttention(num_classes, **config.options)


def look(
    model: nn.Module,
    images: Float[Tensor, "b c h w"],
    config: HardConfig,
    chance: torch.Generator | None = None,
    *,
    lot: torch.Generator | None = None,
) -> Look:
    """One forward pass, as the kind looks: with ``chance`` as in training, without as at test time.

    ``lot`` draws the windows of kind "random" at test time.
    """
    if isinstance(model, RecurrentAttention):
        seen = model.attend(images, generator=chance)
        return Look(seen.logits, seen.boxes, seen.log_prob, seen.entropy, seen.baseline, seen.answers)
    if not isinstance(model, HardAttention):
        return Look(model(images))
    size, stride, draws = model.size, model.stride, 1 if chance is None else config.draws
    if config.kind == "random":
        rows, columns = grid((images.shape[2], images.shape[3]), size, stride)
        images = images.repeat(draws, 1, 1, 1)
        index = torch.randint(rows * columns, (len(images),), generator=chance or lot).to(images.device)
        corners = torch.stack([index // columns, index % columns], dim=1) * stride
        return Look(model.classifier(crop(images, corners, size)), window_boxes(corners, size)[:, None])
    if config.kind == "transformer":
        place = expected_corner(model.policy(images), stride=stride)
        boxes = window_boxes(place.detach().round().long(), size)
        return Look(model.classifier(transformer_crop(images, place, size)), boxes[:, None])
    if config.kind in ("hard", "salient") or chance is None:
        out = model.attend(images, generator=chance, draws=draws)
        if config.kind == "salient":
            return Look(out.logits, out.boxes[:, None])  # no log-probability: nothing trains the policy
        return Look(out.logits, out.boxes[:, None], out.log_prob[:, None], out.entropy[:, None], out.baseline[:, None])
    scores = model.policy(images)
    if config.kind == "gumbel":
        weights = gumbel_softmax(scores, temperature=config.temperature, generator=chance)
    else:
        weights = straight_through(scores, generator=chance)
    return Look(model.classifier(mix_windows(images, weights, size, stride=stride)))


def for_each_draw(labels: Int64[Tensor, " n"], seen: Look) -> Int64[Tensor, " b"]:
    """The labels of a batch, repeated for every window that was drawn."""
    return labels.repeat(len(seen.logits) // len(labels))


def loss_of(seen: Look, labels: Int64[Tensor, " n"], config: HardConfig) -> tuple[Float[Tensor, ""], Tensor]:
    """The loss of a batch, and the rewards (b,) of its last answers: cross-entropy for answers, REINFORCE for places.

    loss = mean cross-entropy of all answers + sum over places of (REINFORCE + (baseline - reward)^2 / 2). The reward
    of a place is that of the answer after it; where several answers follow, their mean.
    """
    labels = for_each_draw(labels, seen)
    answers = seen.logits[:, None] if seen.answers is None else seen.answers
    surprise = functional.cross_entropy(answers.mT, labels[:, None].expand(answers.shape[:2]), reduction="none")
    rewards = -surprise.detach()
    if config.reward == "probability":
        rewards = rewards.exp()
    elif config.reward == "correct":
        rewards = (answers.argmax(dim=2) == labels[:, None]).to(surprise.dtype)
    loss = surprise.mean()
    if seen.log_prob is not None and seen.baseline is not None:
        first = answers.shape[1] - seen.log_prob.shape[1]  # the answer that follows the first chosen place
        for place, (log_prob, expected) in enumerate(
            zip(seen.log_prob.unbind(1), seen.baseline.unbind(1), strict=True)
        ):
            reward = rewards[:, first + place :].mean(dim=1)
            loss = loss + reinforce_loss(
                log_prob,
                reward,
                baseline=expected if config.baseline == "learned" else config.baseline,
                entropy=None if seen.entropy is None else seen.entropy[:, place],
                entropy_weight=config.entropy_weight if seen.entropy is not None else 0.0,
            )
            loss = loss + 0.5 * functional.mse_loss(expected, reward)
    return loss, rewards[:, -1]
