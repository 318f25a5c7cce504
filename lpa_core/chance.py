"""Chance that depends on a key alone and leaves every global random state as it was."""

import hashlib

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
