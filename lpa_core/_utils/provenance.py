"""Where a result comes from: the code's commit, the versions, the hardware. Standard library and torch only."""

import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import torch

PACKAGE = Path(__file__).parents[1]  # the folder of lpa_core itself
PACKAGES = ("torch", "torchvision", "numpy", "scikit-learn", "safetensors")


def commit() -> str | None:
    """The git commit of this package's files, with ``+changes`` where they differ from it; None outside git."""
    tracked = _git(PACKAGE, "ls-files", "--error-unmatch", "__init__.py")
    revision = _git(PACKAGE, "rev-parse", "HEAD")
    if not tracked or not revision:  # an installed copy inside somebody else's repository is not that repository's
        return None
    return revision + ("+changes" if _git(PACKAGE, "status", "--porcelain", "--", ".") else "")


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def versions() -> dict[str, str]:
    """Python's version and those of the packages that decide numbers."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "absent"
    return found


def device_name(device: torch.device) -> str:
    """The name of a GPU, or of the processor."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type != "cpu":
        return device.type
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def now() -> str:
    """The time in UTC, to the second, as ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")
