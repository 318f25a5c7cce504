"""What a chapter was run on, in words: a time says little without it."""

import os
import platform
from pathlib import Path

import psutil


def described(*, gpu: bool = False) -> str:
    """Processor, cores that this process may use and, where ``gpu`` asks for it, the graphics card."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    card = "no GPU used"
    if gpu:
        import torch

        card = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{processor()}, {cores} core{'s' * (cores != 1)}, {card}"


def is_busy() -> bool:
    """Whether other work keeps most of a core busy at this moment: what is measured now is slower than it could be."""
    return psutil.cpu_percent(interval=1.0) / 100 * (psutil.cpu_count() or 1) > 0.8


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name where the system tells it, else its architecture."""
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf8").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name" and value.strip():
                return " ".join(value.replace("(R)", "").replace("(TM)", "").split())
    return platform.processor() or platform.machine()
