"""Train and score models that look: hard, soft and the controls, on one recipe, so that they can stand in one table.

Every kind is trained on the same batches with the same optimiser and number of steps; what differs is how the place to
look at is found (``KINDS``). All chance comes from the seed; equal configs give equal runs on equal hardware.
"""

import math
import time
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from .attention import check_count, check_option
from .chance import generator
from .checkpoint import own_random_state
from .checks import is_number, is_whole
from .data import Batches, ImageSet
from .glimpses import RecurrentAttention
from .hard import HardAttention, box_iou, crop, grid, heaviest_window, reinforce_loss, window_boxes
from .metrics import box_masks, pointing_game
from .models import small_attention_net
from .relaxed import expected_corner, gumbel_softmax, mix_windows, straight_through, transformer_crop
from .trunks import evaluating

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


class HardRun(NamedTuple):
    """A trained model in evaluation mode, its config, its history and its scores on the test set."""

    model: nn.Module
    config: HardConfig
    history: list[dict[str, Any]]
    results: dict[str, Any]


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


def train_hard(
    config: HardConfig,
    train: ImageSet,
    test: ImageSet,
    *,
    watch: ImageSet | None = None,
    every: int = 100,
    progress: bool = True,
) -> HardRun:
    """Train as ``config`` says; score on ``test`` once, at the end.

    ``history`` has an entry each ``every`` steps, and one at the last: the step, seconds of training so far (on the
    wall, and of this process on all its cores), means of accuracy and reward since the last entry, and, with ``watch``
    (validation pictures), their scores and where the first six are looked at. The caller's random state is not touched.

    Raises: ValueError as ``Batches``; FloatingPointError when the loss is no longer finite.
    """
    check_count("every", every)
    cpu = torch.device("cpu")
    with own_random_state(cpu, config.seed):
        model = build_model(config, len(train.classes)).to(memory_format=torch.channels_last)  # the faster on a CPU
        chance = generator("look", config.seed)
        optimiser = torch.optim.AdamW(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)
        batches = Batches(train, config.batch_size, seed=config.seed)
        history: list[dict[str, Any]] = []
        spent, sums = [0.0, 0.0], torch.zeros(3)
        clocks = _clocks()
        for step in tqdm(range(config.steps), disable=not progress, unit="step"):
            if step % len(batches) == 0:
                stream = batches.epoch(step // len(batches))
            images, labels = next(stream)
            for group in optimiser.param_groups:
                group["lr"] = _one_cycle(config, step)
            seen = look(model, images.contiguous(memory_format=torch.channels_last), config, chance)
            loss, reward = loss_of(seen, labels, config)
            if not bool(loss.isfinite()):
                raise FloatingPointError(f"the loss is {loss.item()} at step {step + 1}; start again with a lower lr")
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimiser.step()
            right = (seen.logits.detach().argmax(dim=1) == for_each_draw(labels, seen)).float().mean()
            entropy = torch.zeros(()) if seen.entropy is None else seen.entropy.detach().mean()
            sums += torch.stack([right, reward.mean(), entropy])
            if (step + 1) % every == 0 or step + 1 == config.steps:
                spent = [total + now - before for total, now, before in zip(spent, _clocks(), clocks, strict=True)]
                count = (step % every) + 1
                entry = dict(zip(("train_accuracy", "reward", "entropy"), (sums / count).tolist(), strict=True))
                times = {"seconds": round(spent[0], 2), "cpu_seconds": round(spent[1], 2)}
                history.append({"step": step + 1, **times, **_rounded(entry)})
                sums.zero_()
                if watch is not None:
                    history[-1] |= _rounded({f"validation_{k}": v for k, v in score(model, watch, config).items()})
                    history[-1] |= _shown(model, watch, config)
                clocks = _clocks()
        return HardRun(model.eval(), config, history, score(model, test, config))


@torch.no_grad()
def score(model: nn.Module, images: ImageSet, config: HardConfig, *, batch_size: int = 250) -> dict[str, float]:
    """How well, and where: mean ``accuracy``, ``hit`` and ``iou`` over the set, at test time.

    * ``hit``: is the place looked at inside the digit's box? Hard: the middle of the (last) window. Soft: the
      brightest position of the deepest map, the pointing game on the box. ``hit_any``, for glimpses: any of them.
    * ``iou``: of the digit's box with the window. Soft: with the window of the same size that holds most of the deepest
      map; uniform weights favour no window and get the mean over all.

    A set without boxes has ``accuracy`` alone.
    """
    totals: dict[str, float] = {}
    lot = generator("score", config.seed)
    with evaluating(model):
        for start in range(0, len(images), batch_size):
            part = slice(start, start + batch_size)
            pictures, labels = images.float_images(part), images.labels[part]
            seen = look(model, pictures, config, lot=lot)
            found = {"accuracy": (seen.logits.argmax(dim=1) == labels).float()}
            if images.boxes is not None:
                found |= _places(model, pictures, seen, images.boxes[part])
            for name, values in found.items():
                totals[name] = totals.get(name, 0.0) + float(values.sum())
    return {name: total / len(images) for name, total in totals.items()}


def cost(model: nn.Module, picture: tuple[int, int, int]) -> dict[str, int]:
    """Multiply-accumulates of one picture (channels, h, w), positions looked at, and parameters of ``model``.

    Positions: places at which a network reads numbers. Soft: all pixels. Hard: cells of the coarse view, and pixels of
    the window. Glimpses: cells of the coarse view, and of all patches of all glimpses.
    """
    _, height, width = picture
    with evaluating(model), torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, *picture))
    positions = height * width
    if isinstance(model, HardAttention):
        positions = (height // model.stride) * (width // model.stride) + model.size[0] * model.size[1]
    elif isinstance(model, RecurrentAttention):
        sensor = model.glimpse_network.sensor
        shrink = model.location_network.shrink
        positions = (height // shrink) * (width // shrink) + model.glimpses * sensor.scales * sensor.size**2
    parameters = sum(p.numel() for p in model.parameters())
    return {"macs": counter.get_total_flops() // 2, "positions": positions, "parameters": parameters}


def record(run: HardRun, **about: Any) -> dict[str, Any]:
    """A run as plain values: config, results, cost and history, with what ``about`` says of it (commit, data, ...)."""
    return {
        "format": 1,
        "config": asdict(run.config),
        "kind": KINDS[run.config.kind],
        "results": _rounded(run.results),
        "seconds": run.history[-1]["seconds"],
        "cpu_seconds": run.history[-1]["cpu_seconds"],
        **about,
        "history": run.history,
    }


def _clocks() -> tuple[float, float]:
    """Time on the wall, and time of this process on all its cores: the second does not count what others do."""
    return time.perf_counter(), time.process_time()


def _one_cycle(config: HardConfig, step: int) -> float:
    rise = 0.1 * config.steps
    if step < rise:
        return config.lr * (step + 1) / (rise + 1)
    return config.lr * 0.5 * (1 + math.cos(math.pi * (step - rise) / (config.steps - rise)))


def _places(model: nn.Module, pictures: Tensor, seen: Look, boxes: Tensor) -> dict[str, Tensor]:
    """``hit`` and ``iou`` of every picture of a batch, as ``score`` says."""
    size = (pictures.shape[2], pictures.shape[3])
    if seen.boxes is not None:
        middles = (seen.boxes[..., :2] + seen.boxes[..., 2:]) / 2
        inside = ((middles >= boxes[:, None, :2]) & (middles < boxes[:, None, 2:])).all(dim=2).float()
        return {"hit": inside[:, -1], "hit_any": inside.amax(dim=1), "iou": box_iou(seen.boxes[:, -1], boxes)}
    weights = model.attend(pictures).attended[-1].weights  # type: ignore[operator]
    hit, window = pointing_game(weights, box_masks(boxes, size)), (18, 12)
    if model.config["compatibility"] == "uniform":  # type: ignore[index]
        rows, columns = grid(size, window, 2)
        corners = torch.cartesian_prod(torch.arange(rows) * 2, torch.arange(columns) * 2)
        every = [box_iou(window_boxes(c.expand(len(boxes), 2), window), boxes) for c in corners]
        return {"hit": hit, "iou": torch.stack(every).mean(dim=0)}
    maps = functional.interpolate(weights[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]
    return {"hit": hit, "iou": box_iou(window_boxes(heaviest_window(maps, window, stride=2), window), boxes)}


@torch.no_grad()
def _shown(model: nn.Module, images: ImageSet, config: HardConfig, n: int = 6) -> dict[str, Any]:
    """Where the first ``n`` pictures are looked at, as plain lists: windows, or the weights of the deepest level."""
    few = images.float_images(slice(0, n))
    with evaluating(model):
        if config.kind in ("soft", "uniform"):
            weights = model.attend(few).attended[-1].weights  # type: ignore[operator]
            return {"weights": [[[round(w, 4) for w in row] for row in map] for map in weights.tolist()]}
        boxes = look(model, few, config, lot=generator("windows", config.seed)).boxes
    return {"windows": None if boxes is None else boxes.tolist()}


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in values.items()}
