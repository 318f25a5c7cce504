"""Files that are whole or not there at all, and folders that one run at a time may use."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout

LOCK_NAME = ".lock"
# What a write fails with, by itself and without the name of a file: disk or quota full, file too large, a broken disk.
_WRITING = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


@contextmanager
def atomic(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a binary file that takes the place of ``path`` only when it is complete and on disk.

    The bytes go to a hidden file beside ``path``; at the end it is flushed, synced and renamed. Whatever goes wrong
    before that (an exception, a full disk, a kill) leaves the old ``path`` as it was.

    Raises: OSError naming ``path`` and what the operating system says.
    """
    target = Path(path)
    beside = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with open(beside, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, target)
    except BaseException as error:
        with suppress(OSError):
            beside.unlink()
        if isinstance(error, OSError) and (
            error.filename == str(beside) or (error.filename is None and error.errno in _WRITING)
        ):
            raise OSError(error.errno, f"cannot write {target}: {error.strerror}") from error
        raise
    _sync_folder(target.parent)


def write_atomic(path: str | os.PathLike[str], data: bytes | str) -> None:
    """Write ``data`` (a str as UTF-8) to ``path`` so that a reader finds the old file or the new one, never a part."""
    with atomic(path) as file:
        file.write(data.encode() if isinstance(data, str) else data)


def remove_leftovers(folder: Path) -> None:
    """Delete the hidden files that a killed ``atomic`` left in ``folder``. Only for a folder held with ``locked``."""
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)


@contextmanager
def locked(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """Make ``folder`` if needed and hold it alone while the block runs.

    The lock belongs to the process and vanishes with it, even after ``kill -9``; a file left behind locks nothing.

    Raises: BlockingIOError when another process holds the folder; OSError when the folder cannot be written.
    """
    folder = Path(folder)
    fresh = [path for path in (folder, *folder.parents) if not path.exists()]  # from the inside out
    lock = FileLock(folder / LOCK_NAME, timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise BlockingIOError(
            f"out: another process is using {folder}; wait for it or choose another folder"
        ) from error
    except OSError as error:
        raise type(error)(f"out: cannot write in {folder} ({error.strerror}); choose another folder") from error
    try:
        yield folder
    finally:
        with suppress(OSError):  # while it is still held: whoever opened it before now sees that it is gone
            (folder / LOCK_NAME).unlink()
        lock.release()
        with suppress(OSError):  # nothing was written, as when the options were refused: leave nothing
            for path in fresh:
                path.rmdir()


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut, where the system can sync a folder."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
