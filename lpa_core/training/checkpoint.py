"""A run on disk: its folder and its checkpoint. Nothing read is ever executed."""

import io
import json
import os
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from .._utils.files import atomic, remove_leftovers, write_atomic
from .config import completed

FORMAT = 1
CRC_BYTES = 4


def save_checkpoint(path: str | os.PathLike[str], state: Mapping[str, Any]) -> None:
    """Write tensors, numbers, text, lists and dicts to ``path``; the old file stays until the new one is on disk.

    The file is what ``torch.save`` writes and, behind it, the four bytes of its CRC-32.
    """
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **state}, buffer)
    with atomic(path) as file:
        file.write(buffer.getbuffer())
        file.write(zlib.crc32(buffer.getbuffer()).to_bytes(CRC_BYTES, "little"))


def load_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read what ``save_checkpoint`` wrote; tensors come to the CPU.

    Raises: FileNotFoundError; ValueError on a damaged or foreign file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint {path}")
    data = path.read_bytes()
    if len(data) <= CRC_BYTES or zlib.crc32(data[:-CRC_BYTES]) != int.from_bytes(data[-CRC_BYTES:], "little"):
        raise ValueError(f"{path} is damaged or no checkpoint (its checksum is wrong); start again in a new folder")
    try:
        state = torch.load(io.BytesIO(data[:-CRC_BYTES]), map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a foreign file makes of the reader
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(f"{path} is no checkpoint ({reason}); start again in a new folder") from error
    if not isinstance(state, dict) or state.pop("format", None) != FORMAT:
        raise ValueError(f"{path} is no checkpoint of this version of lpa_core; start again in a new folder")
    return state


class RunFolder:
    """The files of one run, each written whole: run.json, history.jsonl, checkpoint.pt and weights.safetensors.

    Until the run is finished, checkpoint.previous.pt is the checkpoint before the last, for a disk that damages the
    last. ``RunFolder(None)`` keeps nothing, for runs without a folder. The caller holds the folder (``files.locked``),
    or only reads it (``writes=False``).
    """

    PREVIOUS = "checkpoint.previous.pt"
    FILES = ("run.json", "history.jsonl", "checkpoint.pt", PREVIOUS, "weights.safetensors")
    # What of run.json is used again, and what it must be.
    KINDS: Mapping[str, type] = MappingProxyType(
        {"config": dict, "data": dict, "finished": bool, "resumed": int, "started": str, "threads": list}
    )

    def __init__(self, path: Path | None, *, writes: bool = True) -> None:
        self.path, self.writes = path, writes and path is not None

    def earlier(self, config: Mapping[str, Any], *, resume: bool) -> dict[str, Any] | None:
        """The run.json of the run that is here already, or None if there is none.

        Raises: ValueError when there is one and ``resume`` is False, or its config differs from ``config``.
        """
        present = [] if self.path is None else [name for name in self.FILES if (self.path / name).exists()]
        if not present:
            return None
        if not resume:
            raise ValueError(
                f"out: {self.path} already holds a run ({', '.join(present)}); continue it with resume (--resume) or "
                f"choose another folder"
            )
        info = self.read_info()
        refuse_other(f"out: the run in {self.path} has another config", completed(info["config"]), completed(config))
        return info

    def read_info(self) -> dict[str, Any]:
        """What run.json says. Raises: ValueError when it is absent or damaged."""
        assert self.path is not None  # without a folder nothing was ever written
        try:
            info = json.loads((self.path / "run.json").read_text())
            if info["format"] != FORMAT:
                raise ValueError(f"format {info['format']!r} is not {FORMAT}")
            if absent := {"command", *self.KINDS} - set(info):
                raise ValueError(f"{', '.join(sorted(absent))} missing")
            kinds = {**self.KINDS, **({"results": dict, "timings": dict} if info["finished"] else {})}
            for name, kind in kinds.items():
                if not isinstance(info[name], kind):
                    raise ValueError(f"{name} must be a {kind.__name__}; got {info[name]!r}")
            if not all(isinstance(number, int) for number in info["threads"]):
                raise ValueError(f"threads must be whole numbers; got {info['threads']}")
        except FileNotFoundError as error:
            raise ValueError(f"out: {self.path} holds files of a run but no run.json; choose another folder") from error
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"{self.path / 'run.json'} is damaged ({error}); choose another folder") from error
        return info

    def write_info(self, info: Mapping[str, Any]) -> None:
        """Write run.json."""
        if self.path is not None and self.writes:
            write_atomic(self.path / "run.json", json.dumps(info, indent=2) + "\n")

    def read_history(self) -> list[dict[str, Any]]:
        """The lines of history.jsonl.

        Raises: ValueError where it is damaged, or run.json says that the run is finished and epochs are missing;
            FileNotFoundError where it is absent.
        """
        assert self.path is not None
        file = self.path / "history.jsonl"
        if not file.is_file():
            raise FileNotFoundError(f"{self.path} holds a run but no {file.name}")
        try:
            entries = [json.loads(line) for line in file.read_text(encoding="utf8").splitlines()]
            if [entry["epoch"] for entry in entries] != [*range(1, len(entries) + 1)]:
                raise ValueError("its epochs are not 1, 2, ...")
            info: dict[str, Any] = self.read_info() if (self.path / "run.json").exists() else {"finished": False}
            if info["finished"] and len(entries) != info["config"]["epochs"]:
                raise ValueError(f"it has {len(entries)} of {info['config']['epochs']} epochs")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"{file} is damaged ({error!r})") from error
        return entries

    def write_history(self, history: list[dict[str, Any]]) -> None:
        """Write history.jsonl anew: after a kill it says again what the checkpoint says, without half lines."""
        if self.path is not None and self.writes:
            write_atomic(self.path / "history.jsonl", "".join(json.dumps(entry) + "\n" for entry in history))

    def save(self, state: Mapping[str, Any]) -> None:
        """Write checkpoint.pt; the one that was there becomes the previous one."""
        if self.path is None or not self.writes:
            return
        last, aside = self.path / "checkpoint.pt", self.path / f".{self.PREVIOUS}.{os.getpid()}.tmp"
        with suppress(OSError):  # there is none yet, or the file system has no links: then none is kept
            os.link(last, aside)
        try:
            save_checkpoint(last, state)
            if aside.exists():
                os.replace(aside, self.path / self.PREVIOUS)
        finally:
            aside.unlink(missing_ok=True)

    def load(self) -> dict[str, Any] | None:
        """The state to continue from, or None if the run was stopped before its first checkpoint.

        Raises: ValueError on a damaged checkpoint; it says whether the one before it is whole.
        """
        if self.path is None:
            return None
        last, previous = self.path / "checkpoint.pt", self.path / self.PREVIOUS
        if not last.exists() and not previous.exists():
            return None
        try:
            return load_checkpoint(last)
        except (FileNotFoundError, ValueError) as error:
            try:
                load_checkpoint(previous)
            except (FileNotFoundError, ValueError):
                raise error from None
            raise ValueError(
                f"{str(error).partition(';')[0]}; the checkpoint before it, {previous.name}, is whole: rename it to "
                f"{last.name}, and resume (--resume) goes on from there"
            ) from error

    def clean(self, *, finished: bool = False) -> None:
        """Remove what a kill in the middle of a write left behind, and at the end the checkpoint before the last."""
        if self.path is not None and self.writes:
            remove_leftovers(self.path)
            if finished:
                (self.path / self.PREVIOUS).unlink(missing_ok=True)


def refuse_other(what: str, there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    """Raise ValueError naming each key that differs, with both values, unless the two are equal as JSON."""
    there, here = json.loads(json.dumps(there)), json.loads(json.dumps(here))
    keys = [key for key in {**there, **here} if there.get(key) != here.get(key) or (key in there) != (key in here)]
    if keys:
        values = "; ".join(f"{key} is {there.get(key)!r} there, {here.get(key)!r} here" for key in keys)
        raise ValueError(f"{what}: {values}")
