"""Chance that depends on a key alone and leaves every global random state as it was."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch


def generator(*key: object) -> torch.Generator:
    """A generator on the CPU that depends on ``key`` (words and numbers) alone; other keys give other streams."""
    digest = hashlib.sha256(repr(key).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little", signed=True))


def stratified(labels: np.ndarray, count: int, *, key: int) -> np.ndarray:
    """A mask (n,) of ``count`` of the n ``labels``, each class in proportion (to the nearest whole), fixed by ``key``.

    Raises: ValueError unless ``count`` is from 0 to n.
    """
    if not 0 <= count <= len(labels):
        raise ValueError(f"count must be from 0 to {len(labels)}, the number of labels; got {count}")
    exact = np.bincount(labels) * (count / max(len(labels), 1))
    quota = np.floor(exact).astype(np.int64)
    quota[np.argsort(quota - exact, kind="stable")[: count - quota.sum()]] += 1
    order = np.random.RandomState(key % 2**32).permutation(len(labels))  # its stream is frozen by numpy's policy
    mask = np.zeros(len(labels), dtype=bool)
    for label, wanted in enumerate(quota):
        mask[order[labels[order] == label][:wanted]] = True
    return mask


@contextmanager
def own_random_state(device: torch.device, seed: int) -> Iterator[None]:
    """Run a block on freshly seeded global generators and give the caller's back afterwards (CPU and ``device``)."""
    on_gpu = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if on_gpu else []):
        torch.default_generator.manual_seed(seed)
        if on_gpu:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


def random_state(device: torch.device) -> dict[str, torch.Tensor]:
    """The state of the global generators that training on ``device`` draws from."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(device: torch.device, state: Mapping[str, torch.Tensor]) -> None:
    """Put back what ``random_state`` gave; a generator that it does not name stays as it is."""
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
