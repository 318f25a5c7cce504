"""What a GPU gives: its ceilings for bf16 products and for copies, and the full network's share of them.

Images/s of inference and of the training step, compiled and not, for batches of 128 to 2,048, beside the plainest
PyTorch loop; the share is that of the convolutions' multiply-adds in the measured bf16 rate. Without a GPU it says so.
"""

from collections.abc import Iterator

import torch
from torch import nn

from benchmarks import Row
from benchmarks.bench_train import Plain, forward, plain_step, rate, step
from lpa_core.models.builders import attention_vgg

BATCHES = (128, 256, 512, 1024, 2048)
SIDE = 8192  # of the square matrices whose product is the ceiling
COPY = 2**30  # bytes


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


def run() -> Iterator[Row]:
    if not torch.cuda.is_available():
        print("  no GPU here: nothing was measured")
        return
    device = torch.device("cuda")
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
        for compiled in (False, True):
            model = attention_vgg().to(device).to(memory_format=torch.channels_last)
            if compiled:
                model.compile()
            how = "compiled" if compiled else "eager"
            for name, work, passes in (("inference", forward, 1), ("training step", step, 3)):
                found = rate(work(model, images), batch, device)
                yield _row(f"{name}, {how}", found, batch)
                share = 100 * found * passes * flops / ceiling
                yield Row(f"{name}, {how}: share of the ceiling", share, "%", f"{batch} a batch")
        torch.compiler.reset()
        torch.cuda.empty_cache()


def _row(name: str, value: float, batch: int) -> Row:
    return Row(name, value, "images/s", f"{batch} a batch")
