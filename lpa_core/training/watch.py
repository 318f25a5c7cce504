"""What happens between the steps of a run: the clock, the progress bar, checkpoints, the end of an epoch."""

import math
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from ..data.batches import Batches
from .checkpoint import RunFolder, snapshot
from .config import TrainConfig
from .evaluation import evaluate
from .loop import State, autocast, learning_rate
from .processes import Ranks
from .sets import Sets

OnEpoch = Callable[[dict[str, Any], nn.Module], None]


class TimeUp(TimeoutError):
    """The run was stopped because its time was up; a checkpoint is written, and ``resume`` goes on from it."""


class Watch:
    """What happens between the steps of ``fit``: the clock, the progress bar, checkpoints and the end of an epoch."""

    def __init__(
        self,
        state: State,
        batches: Batches,
        sets: Sets,
        config: TrainConfig,
        folder: RunFolder,
        info: dict[str, Any],
        device: torch.device,
        checkpoint_seconds: float,
        on_epoch: OnEpoch | None,
        progress: bool,
        until: float,
        ranks: Ranks,
    ) -> None:
        self.state, self.batches, self.sets, self.config, self.folder = state, batches, sets, config, folder
        self.info, self.device, self.checkpoint_seconds, self.on_epoch = info, device, checkpoint_seconds, on_epoch
        self.until, self.ranks = until, ranks
        done = state.epoch * len(batches) + state.batch
        self.bar = tqdm(total=config.epochs * len(batches), initial=done, unit="step", disable=not progress)
        self.clock = self.saved = time.perf_counter()

    def lap(self) -> float:
        """Seconds since the last lap."""
        last, self.clock = self.clock, time.perf_counter()
        return self.clock - last

    def after_step(self) -> None:
        self.bar.update()
        now = time.perf_counter()
        if now - self.saved >= self.checkpoint_seconds or now >= self.until:
            self.save()
        if now >= self.until:
            raise TimeUp("the time is up; the run goes on from its checkpoint with resume (--resume)")

    def save(self) -> None:
        """Write a checkpoint; the time it takes is nobody's."""
        self.state.seconds += self.lap()
        self.folder.save(snapshot(self.state, self.info, self.device))
        self.lap()
        self.saved = self.clock

    def after_epoch(self) -> None:
        """Evaluate, write the epoch down, and put the state at the start of the next."""
        state, steps = self.state, len(self.batches)
        loss, correct = self.ranks.summed(state.totals.clone()).tolist()  # waits for the device
        seconds, pictures = state.seconds + self.lap(), steps * self.config.batch_size
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"the loss is {loss} in epoch {state.epoch + 1}: training has diverged; start again with a lower lr "
                f"(it is {self.config.lr})"
            )
        state.average.eval()
        validation: dict[str, Any] = {}
        if self.sets.validation is not None:
            with autocast(self.device, bfloat16=self.config.bfloat16):
                validation = evaluate(state.average, self.sets.validation)
        entry = {
            "epoch": state.epoch + 1,
            "step": (state.epoch + 1) * steps,
            "lr": learning_rate(self.config, (state.epoch + 1) * steps - 1, steps),
            "train_loss": loss / pictures,
            "train_accuracy": correct / pictures,
            "validation_loss": validation.get("loss"),
            "validation_accuracy": validation.get("accuracy"),
            "seconds": round(seconds + self.lap(), 3),
            "images_per_second": round(pictures / seconds, 1),
        }
        state.history.append(entry)
        state.epoch, state.batch, state.seconds = state.epoch + 1, 0, 0.0
        state.totals.zero_()
        self.save()
        self.folder.write_history(state.history)
        shown = {name: f"{entry[name]:.3f}" for name in ("train_loss", "validation_accuracy") if entry[name]}
        self.bar.set_postfix({**shown, "images/s": f"{entry['images_per_second']:.0f}"})
        if self.on_epoch is not None:
            with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
                self.on_epoch(dict(entry), state.average)
        self.lap()
