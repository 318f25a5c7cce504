"""What happens between the steps of a run: the clock, the progress bar, checkpoints, the end of an epoch."""

import math
import time
from typing import Any

import torch
from tqdm import tqdm

from ..data.batches import Batches
from .context import Context
from .evaluation import evaluate
from .loop import autocast, learning_rate
from .state import State, snapshot


class TimeUp(TimeoutError):
    """The run was stopped because its time was up; a checkpoint is written, and ``resume`` goes on from it."""


class Watch:
    """What happens between the steps of ``fit``: the clock, the progress bar, checkpoints and the end of an epoch."""

    def __init__(self, context: Context, state: State, batches: Batches) -> None:
        self.context, self.state, self.batches = context, state, batches
        done, every = state.epoch * len(batches) + state.batch, context.config.epochs * len(batches)
        self.bar = tqdm(total=every, initial=done, unit="step", disable=not context.progress)
        self.clock = self.saved = time.perf_counter()

    def lap(self) -> float:
        """Seconds since the last lap."""
        last, self.clock = self.clock, time.perf_counter()
        return self.clock - last

    def after_step(self) -> None:
        """Move the bar on, write a checkpoint when one is due, and stop when the time is up."""
        self.bar.update()
        self.context.tell("step", self.state.epoch, self.state.batch)
        now, until = time.perf_counter(), self.context.until
        if now - self.saved >= self.context.checkpoint_seconds or now >= until:
            self.save()
        if now >= until:
            raise TimeUp("the time is up; the run goes on from its checkpoint with resume (--resume)")

    def save(self) -> None:
        """Write a checkpoint; the time it takes is nobody's."""
        self.state.seconds += self.lap()
        self.context.folder.save(snapshot(self.context, self.state))
        self.context.tell("checkpoint", self.state.epoch, self.state.batch)
        self.lap()
        self.saved = self.clock

    def after_epoch(self) -> None:
        """Evaluate, write the epoch down, and put the state at the start of the next."""
        context, state, config = self.context, self.state, self.context.config
        context.tell("epoch", state.epoch, state.batch)
        loss, correct = context.ranks.summed(state.totals.clone()).tolist()  # waits for the device
        steps = (state.epoch + 1) * len(self.batches)
        seconds, pictures = state.seconds + self.lap(), len(self.batches) * config.batch_size
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"the loss is {loss} in epoch {state.epoch + 1}: training has diverged; start again with a lower lr "
                f"(it is {config.lr})"
            )
        validation = self._validate()
        entry = {
            "epoch": state.epoch + 1,
            "step": steps,
            "lr": learning_rate(config, steps - 1, len(self.batches)),
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
        last = state.epoch == config.epochs
        if last or time.perf_counter() - self.saved >= context.checkpoint_seconds:
            self.save()  # not after every epoch: the full network's are seconds long, and its checkpoints 240 MB
        context.folder.write_history(state.history)
        shown = {name: f"{entry[name]:.3f}" for name in ("train_loss", "validation_accuracy") if entry[name]}
        self.bar.set_postfix({**shown, "images/s": f"{entry['images_per_second']:.0f}"})
        if context.on_epoch is not None:
            with torch.random.fork_rng(devices=[context.device] if context.device.type == "cuda" else []):
                context.on_epoch(dict(entry), state.average)
        self.lap()

    def _validate(self) -> dict[str, Any]:
        """The scores of what would be kept, in evaluation mode, which it stays in."""
        context, average = self.context, self.state.average.eval()
        if context.shown.validation is None:
            return {}
        context.tell("validation", self.state.epoch, self.state.batch)
        with autocast(context.device, bfloat16=context.config.bfloat16):
            return evaluate(average, context.shown.validation)
