"""The first ten minutes on a GPU: what is wrong is said before hours are spent, and how fast it is.

First a checklist, of which each line says ok, or what failed: bfloat16, training eager and compiled, resuming, no wait
within a step, what comes back to the CPU, memory. Then rates: the ceilings of bf16 products and of copies, and the full
network's images/s and share of them, for batches of 128 to 2,048, compiled and not, beside the plainest PyTorch loop;
the share is that of the convolutions' multiply-adds in the measured bf16 rate. Last two epochs of CIFAR-100 at full
width where LPA_DATA has it. Without a GPU it says so, and measures nothing.
"""

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks import Row
from benchmarks.bench_data import noise
from benchmarks.bench_train import Plain, forward, plain_step, rate, step
from lpa_core.models.builders import attention_vgg
from lpa_core.models.weights import load_weights
from lpa_core.training import Run, TimeUp, evaluate, preset, train
from lpa_core.training.compiling import compiled

BATCHES = (128, 256, 512, 1024, 2048)
SIDE = 8192  # of the square matrices whose product is the ceiling
COPY = 2**30  # bytes
FEW = 1280  # pictures of the runs of the checklist


def run() -> Iterator[Row]:
    if not torch.cuda.is_available():
        print("  no GPU here: nothing was checked and nothing measured")
        return
    device = torch.device("cuda", torch.cuda.current_device())
    yield from checklist(device)
    yield from rates(device)
    yield from one_epoch()


# --- what may be wrong ------------------------------------------------------------------------------------------------


def checklist(device: torch.device, **changes: Any) -> Iterator[Row]:
    """One line for each thing that has to work; the value is the seconds it took, and NaN where it failed.

    ``changes`` are those of ``preset``, for a smaller network.
    """
    with tempfile.TemporaryDirectory() as place:
        checks = Checks(device, Path(place), changes)
        for name in ("device", "eager", "compiled", "resumed", "silent", "to_the_cpu", "memory"):
            check, start = getattr(checks, name), time.perf_counter()
            what = check.__doc__.rstrip(".")
            try:
                note = check()
                yield Row(f"ok: {what}", time.perf_counter() - start, "s", note)
            except Exception as error:  # the list goes on: what else is wrong is worth knowing too
                first = (str(error).strip() or "no message").splitlines()[0]
                yield Row(f"FAILED: {what}", float("nan"), "", f"{type(error).__name__}: {first}")


@dataclass(frozen=True)
class Checks:
    """What has to work, one method each: it returns what it saw, and raises where something is wrong."""

    gpu: torch.device
    folder: Path
    changes: dict[str, Any]

    def train(self, name: str, *, compile: bool = False, **how: Any) -> Run:
        """Two epochs of the recipe of the book on noise, in a folder of this name."""
        config = preset("book", "noise", epochs=2, compile=compile, **self.changes)
        sets = noise(FEW), noise(FEW // 5), noise(FEW // 5)
        return train(config, self.folder / name, sets=sets, device=self.gpu, progress=False, **how)

    def device(self) -> str:
        """the device computes in bfloat16."""
        if not torch.cuda.is_bf16_supported(including_emulation=False):
            raise RuntimeError("no bfloat16: training falls back to float32 here")
        found = torch.cuda.get_device_properties(self.gpu)
        size, cudnn = found.total_memory / 2**30, torch.backends.cudnn.version()
        return f"{found.name}, {size:.0f} GiB, CUDA {torch.version.cuda}, cuDNN {cudnn}"

    def eager(self) -> str:
        """two epochs, eager."""
        return said(self.train("eager"))

    def compiled(self) -> str:
        """two epochs, compiled, end where eager ones do."""
        found, plain = self.train("compiled", compile=True), self.train("eager", resume=True)  # as it was
        if found.info["compiled"] != [True]:
            raise RuntimeError("the model was not compiled; the warning above says why")
        close(found, plain, "compiled", "eager", 0.05)
        return said(found)

    def resumed(self) -> str:
        """a stopped and resumed run ends where an unbroken one does."""
        with suppress(TimeUp):
            self.train("stopped", minutes=0)
        found, whole = self.train("stopped", resume=True), self.train("eager", resume=True)
        return close(whole, found, "unbroken", "resumed", 0.02)

    def silent(self) -> str:
        """no step waits for the GPU: CUDA itself would raise, from the first step of an epoch to its last."""
        steps = FEW // preset("book", "noise", **self.changes).batch_size

        def listen(moment: str, epoch: int, batch: int) -> None:
            torch.cuda.set_sync_debug_mode("error" if moment == "step" and batch < steps else "default")

        try:
            self.train("silent", checkpoint_seconds=1e6, on_event=listen)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        return f"in {2 * (steps - 1)} steps"

    def to_the_cpu(self) -> str:
        """what was trained on the GPU is worth the same on the CPU."""
        where = (self.gpu, torch.device("cpu"))
        self.train("eager", resume=True)
        there, here = (evaluate(load_weights(self.folder / "eager", device=d).model, noise(64))["loss"] for d in where)
        if abs(there / here - 1) > 0.01:
            raise RuntimeError(f"the loss is {there:.4f} on the GPU and {here:.4f} on the CPU")
        return f"loss {there:.4f} and {here:.4f}"

    def memory(self) -> str:
        """the largest batch fits in memory."""
        torch.cuda.reset_peak_memory_stats(self.gpu)
        model = attention_vgg(width=self.changes.get("width", 1.0)).to(self.gpu).to(memory_format=torch.channels_last)
        images = torch.randn(BATCHES[-1], 3, 32, 32, device=self.gpu).contiguous(memory_format=torch.channels_last)
        step(model, images)()
        torch.cuda.synchronize()
        peak, all_of_it = (
            size / 2**30
            for size in (
                torch.cuda.max_memory_allocated(self.gpu),
                torch.cuda.get_device_properties(self.gpu).total_memory,
            )
        )
        return f"{peak:.1f} of {all_of_it:.0f} GiB for a step of {BATCHES[-1]}"


def said(found: Run) -> str:
    last = found.history[-1]
    return f"loss {last['train_loss']:.4f}, {last['images_per_second']:.0f} images/s in the second epoch"


def close(one: Run, other: Run, name: str, other_name: str, share: float) -> str:
    """Both losses in words. On a GPU bits may differ: what is added atomically has another order each time."""
    a, b = (run.history[-1]["train_loss"] for run in (one, other))
    if abs(a / b - 1) > share:
        raise RuntimeError(f"the loss is {a:.4f} {name} and {b:.4f} {other_name}")
    return f"loss {a:.4f} {name}, {b:.4f} {other_name}"


# --- how fast ---------------------------------------------------------------------------------------------------------


def macs(model: nn.Module, size: int = 32) -> int:
    """Multiply-adds of all convolutions for one picture, counted while it runs."""
    total = 0

    def add(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal total
        assert isinstance(module, nn.Conv2d)
        total += output[0].numel() * module.weight[0].numel()

    hooks = [module.register_forward_hook(add) for module in model.modules() if isinstance(module, nn.Conv2d)]
    with torch.no_grad():
        model.eval()(torch.zeros(1, 3, size, size))
    for hook in hooks:
        hook.remove()
    return total


def rates(device: torch.device) -> Iterator[Row]:
    a, b = (torch.randn(SIDE, SIDE, device=device, dtype=torch.bfloat16) for _ in range(2))
    ceiling = 2 * SIDE**3 * rate(lambda: torch.mm(a, b), 1, device)
    yield Row("bf16 matrix product, ceiling", ceiling / 1e12, "TFLOP/s", f"{SIDE}x{SIDE}")
    source, target = (torch.empty(COPY, dtype=torch.uint8, device=device) for _ in range(2))
    yield Row("copy, ceiling", 2 * COPY * rate(lambda: target.copy_(source), 1, device) / 1e9, "GB/s", "read and write")
    del a, b, source, target
    flops = 2 * macs(attention_vgg())
    for batch in BATCHES:
        images = torch.randn(batch, 3, 32, 32, device=device)
        yield _row("plain PyTorch step, float32", rate(plain_step(Plain().to(device), images), batch, device), batch)
        images = images.contiguous(memory_format=torch.channels_last)
        for how in ("eager", "compiled"):
            model = attention_vgg().to(device).to(memory_format=torch.channels_last)
            if how == "compiled" and not compiled(model):
                continue
            for name, work, passes in (("inference", forward, 1), ("training step", step, 3)):
                found = rate(work(model, images), batch, device)
                yield _row(f"{name}, {how}", found, batch)
                share = 100 * found * passes * flops / ceiling
                yield Row(f"{name}, {how}: share of the ceiling", share, "%", f"{batch} a batch")
        torch.cuda.empty_cache()


def one_epoch() -> Iterator[Row]:
    """Two epochs of the real thing: the second one's speed, and what both have learned."""
    root = os.environ.get("LPA_DATA")
    if not root:
        print("  one epoch of CIFAR-100: set LPA_DATA to the folder that holds it")
        return
    found = train(preset("book", "cifar100", epochs=2), root=root, download=False, device="cuda", progress=False)
    last = found.history[-1]
    yield Row("book on CIFAR-100, its second epoch", last["images_per_second"], "images/s", f"{last['seconds']:.1f} s")
    yield Row("book on CIFAR-100 cut to two epochs: validation", 100 * last["validation_accuracy"], "%", "chance is 1")


def _row(name: str, value: float, batch: int) -> Row:
    return Row(name, value, "images/s", f"{batch} a batch")
