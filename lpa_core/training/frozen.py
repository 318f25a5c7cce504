"""The maps of a frozen backbone, computed once and kept on disk: training attention on them takes minutes.

A frozen backbone gives the same maps for a picture in every epoch. ``train(config, features=FOLDER)`` computes them
before the first epoch, and reads them after that; a second run with the same backbone and pictures finds them there.
The result is that of a run without, up to the rounding to float16 in which they are kept.
"""

import hashlib
import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from .._utils.files import locked, write_atomic
from ..data.image_set import ImageSet, normalise
from ..models.backbone_trunk import BackboneTrunk
from ..models.classifier import AttentionClassifier
from ..models.trunk import Features, Trunk
from .config import TrainConfig
from .sets import Sets

logger = logging.getLogger(__name__)

DONE = "maps.json"  # written last: a folder without it is not whole, and its maps are computed again


class StoredTrunk(Trunk):
    """Stands in for a frozen trunk: of a picture that is a ticket (see ``tickets``) it gives the maps kept on disk."""

    def __init__(self, trunk: BackboneTrunk, levels: list[list[np.ndarray]]) -> None:
        super().__init__()
        self.in_channels, self.local_channels = 3, trunk.local_channels
        self.global_channels, self.has_global = trunk.global_channels, trunk.has_global
        self._levels, self._to_vector = levels, trunk.to_vector  # without weights: shared with the trunk
        self._starts = np.cumsum([0, *(len(part) for part in levels[0])])

    def __deepcopy__(self, memo: dict[int, Any]) -> "StoredTrunk":
        return self  # what is on disk is read only: an averaged copy of a model shares it

    def forward(self, images: Float[Tensor, "b 3 1 1"]) -> Features:
        digits = images.detach().round().long().flatten(1).cpu()
        rows = (digits * torch.tensor([1, 256, 65536])).sum(dim=1).numpy()
        local = tuple(self._rows(parts, rows).to(images.device) for parts in self._levels)
        return Features(local, None if self._to_vector is None else self._to_vector(local[-1]))

    def _rows(self, parts: list[np.ndarray], rows: np.ndarray) -> Tensor:
        """The rows of all ``parts``, counted through, as float32."""
        found = np.empty((len(rows), *parts[0].shape[1:]), dtype=np.float32)
        for part, start in zip(parts, self._starts, strict=False):
            here = (rows >= start) & (rows < start + len(part))
            found[here] = part[rows[here] - start]
        return torch.from_numpy(found)


class FrozenFeatures:
    """The maps of the frozen backbone of ``model`` for ``sets``: found in ``folder``, or computed and put there.

    ``sets`` are the same sets with a ticket in the place of each picture, and the stored maps stand in the place of
    ``model.trunk``, so that whatever trains and evaluates runs as before; ``give_back`` undoes it.

    Each part of the data has a folder of its own, named for its pictures, their normalisation and the backbone, weights
    included: another of any of these finds nothing there. It takes 2 bytes a number with ``half`` (float16), else 4.

    Raises: ValueError unless ``model`` is one of ``attend_to`` with a frozen backbone that gives g from its deepest map
        (tokens have a g of their own), or where there are more than 2**24 pictures; OSError where the folder cannot be
        written.
    """

    def __init__(
        self, model: AttentionClassifier, sets: Sets, folder: str | Path, *, device: torch.device, half: bool = True
    ) -> None:
        trunk = model.trunk
        if not isinstance(trunk, BackboneTrunk) or not trunk.frozen:
            raise ValueError("features needs a frozen backbone: a model of attend_to with freeze_backbone=True")
        if trunk.global_node != trunk.nodes[-1] or trunk.has_tokens:
            raise ValueError(f"features needs g from the deepest map {trunk.nodes[-1]!r}; got {trunk.global_node!r}")
        parts = [part for part in sets if part is not None]
        if sum(map(len, parts)) > 2**24:
            raise ValueError(f"features counts up to {2**24} pictures; got {sum(map(len, parts))}")
        trunk.to(device).eval()
        backbone = _identity(trunk)
        dtype = np.dtype(np.float16 if half else np.float32)
        with locked(folder) as place:
            kept = [_kept(place, trunk, backbone, part, dtype, device) for part in parts]
        starts = np.cumsum([0, *map(len, parts)]).tolist()
        given = iter(tickets(part, start) for part, start in zip(parts, starts, strict=False))
        self.sets = Sets(*(None if part is None else next(given) for part in sets))  # type: ignore[arg-type]
        self._trunk = trunk
        model.trunk = StoredTrunk(trunk, [[*arrays] for arrays in zip(*kept, strict=True)])

    def give_back(self, model: AttentionClassifier) -> None:
        """Put the true trunk where the stored maps stand in ``model``, which may be a copy of the first."""
        model.trunk = self._trunk.train(model.training)


def check_unchanged(config: TrainConfig) -> None:
    """Refuse a config that shows a picture in several ways. Raises: ValueError naming what does."""
    if changed := [name for name in ("flip", "crop", "cutmix") if getattr(config, name)]:
        raise ValueError(
            f"features keeps the maps of pictures as they are; {' and '.join(changed)} would change them in each "
            f"epoch: leave {'it' if len(changed) == 1 else 'them'} out"
        )


def tickets(part: ImageSet, start: int) -> ImageSet:
    """``part`` with the number of each picture, from ``start`` on, in its place: three bytes, as 3x1x1 pixels."""
    numbers = torch.arange(start, start + len(part))
    digits = torch.stack([numbers % 256, numbers // 256 % 256, numbers // 65536], dim=1).to(torch.uint8)
    images = digits[:, :, None, None]
    return replace(part, images=images, mean=(0.0,) * 3, std=(1 / 255,) * 3, masks=None, boxes=None)


def _identity(trunk: BackboneTrunk) -> str:
    """A checksum of what the trunk computes: its nodes and every weight."""
    digest = hashlib.sha256(repr(trunk.nodes).encode())
    for name, tensor in trunk.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _kept(
    place: Path, trunk: BackboneTrunk, backbone: str, part: ImageSet, dtype: np.dtype, device: torch.device
) -> list[np.ndarray]:
    """The arrays of one part, a level each, memory-mapped; computed where they are not there."""
    what = {"backbone": backbone, "pictures": part.checksum, "shape": [*part.images.shape], "dtype": dtype.name}
    what |= {"mean": list(part.mean), "std": list(part.std)}
    folder = place / hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:24]
    names = [f"level{level + 1}.npy" for level in range(len(trunk.local_channels))]
    if not (folder / DONE).is_file():
        folder.mkdir(exist_ok=True)
        logger.info("computing the frozen maps of %d pictures (%s) once, into %s", len(part), part.split, folder)
        _compute(folder, names, trunk, part, dtype, device)
        write_atomic(folder / DONE, json.dumps(what, indent=2, sort_keys=True) + "\n")
    try:
        arrays = [np.load(folder / name, mmap_mode="r") for name in names]
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder} is damaged ({error}): delete it, and its maps are computed again") from error
    if wrong := [name for name, array in zip(names, arrays, strict=True) if len(array) != len(part)]:
        raise ValueError(f"{folder / wrong[0]} is damaged: delete the folder, and its maps are computed again")
    return arrays


@torch.no_grad()
def _compute(
    folder: Path, names: list[str], trunk: BackboneTrunk, part: ImageSet, dtype: np.dtype, device: torch.device
) -> None:
    size = 256 if device.type == "cuda" else 8  # on a CPU, maps of few pictures stay in its cache
    files: list[np.ndarray] = []
    for start in range(0, len(part), size):
        images = normalise(part.images[start : start + size].to(device), part.mean, part.std)
        values = trunk(images.contiguous(memory_format=torch.channels_last)).local
        if not files:
            files = [
                np.lib.format.open_memmap(folder / name, "w+", dtype, (len(part), *value.shape[1:]))
                for name, value in zip(names, values, strict=True)
            ]
        for file, value in zip(files, values, strict=True):
            file[start : start + len(images)] = value.cpu().numpy()
    for file in files:
        file.flush()  # type: ignore[attr-defined]
