"""Train and score models that look: hard, soft and the controls, on one recipe, so that they can stand in one table.

Every kind is trained on the same batches with the same optimiser and number of steps; what differs is how the place to
look at is found (``KINDS``). All chance comes from the seed; equal configs give equal runs on equal hardware.
"""

import time
from dataclasses import asdict
from typing import Any, NamedTuple

import torch
from torch import nn
from tqdm import tqdm

from .._utils.checks import check_count
from .._utils.device import pick_device
from .._utils.seeding import generator, own_random_state
from ..data.batches import Batches
from ..data.image_set import ImageSet
from ..training.loop import one_cycle
from .kinds import KINDS, HardConfig, build_model, look, loss_of
from .scoring import score, shown
from .seen import for_each_draw

WARMUP = 0.1  # the share of all steps in which the learning rate rises


class HardRun(NamedTuple):
    """A trained model in evaluation mode, its config, its history and its scores on the test set."""

    model: nn.Module
    config: HardConfig
    history: list[dict[str, Any]]
    results: dict[str, Any]


def train_hard(
    config: HardConfig,
    train: ImageSet,
    test: ImageSet,
    *,
    watch: ImageSet | None = None,
    every: int = 100,
    device: str | torch.device = "cpu",
    progress: bool = True,
) -> HardRun:
    """Train as ``config`` says; score on ``test`` once, at the end.

    ``history`` has an entry each ``every`` steps, and one at the last: the step, seconds of training so far (on the
    wall, and of this process on all its cores), means of accuracy and reward since the last entry, and, with ``watch``
    (validation pictures), their scores and where the first six are looked at. The caller's random state is not touched.

    ``device`` is where it trains: the recorded runs are of a CPU. The first weights and the draws come from the CPU's
    generators in any case.

    Raises: ValueError as ``Batches``, and on a ``device`` that is not there; FloatingPointError when the loss is no
        longer finite.
    """
    check_count("every", every)
    place = pick_device(device)
    with own_random_state(place, config.seed):
        model = build_model(config, len(train.classes)).to(place).to(memory_format=torch.channels_last)  # faster
        chance = generator("look", config.seed)
        optimiser = torch.optim.AdamW(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)
        batches = Batches(train, config.batch_size, seed=config.seed, device=place)
        history: list[dict[str, Any]] = []
        spent, sums = [0.0, 0.0], torch.zeros(3, device=place)
        clocks = _clocks()
        for step in tqdm(range(config.steps), disable=not progress, unit="step"):
            if step % len(batches) == 0:
                stream = batches.epoch(step // len(batches))
            images, labels = next(stream)
            for group in optimiser.param_groups:
                group["lr"] = one_cycle(config.lr, step, config.steps, warmup=WARMUP)
            seen = look(model, images.contiguous(memory_format=torch.channels_last), config, chance)
            loss, reward = loss_of(seen, labels, config)
            if not bool(loss.isfinite()):
                raise FloatingPointError(f"the loss is {loss.item()} at step {step + 1}; start again with a lower lr")
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimiser.step()
            right = (seen.logits.detach().argmax(dim=1) == for_each_draw(labels, seen)).float().mean()
            entropy = torch.zeros((), device=place) if seen.entropy is None else seen.entropy.detach().mean()
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
                    history[-1] |= shown(model, watch, config)
                clocks = _clocks()
        return HardRun(model.eval(), config, history, score(model, test, config))


def record(run: HardRun, **about: Any) -> dict[str, Any]:
    """A run as plain values: config, results, cost and history, with what ``about`` says of it (commit, data, ...)."""
    return {
        "format": 1,
        "config": asdict(run.config),
        "kind": KINDS[run.config.kind].about,
        "results": _rounded(run.results),
        "seconds": run.history[-1]["seconds"],
        "cpu_seconds": run.history[-1]["cpu_seconds"],
        **about,
        "history": run.history,
    }


def _clocks() -> tuple[float, float]:
    """Time on the wall, and time of this process on all its cores: the second does not count what others do."""
    return time.perf_counter(), time.process_time()


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in values.items()}
