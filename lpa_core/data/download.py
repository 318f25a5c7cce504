"""Files of a known md5: find them, fetch them, unpack them. Nothing is opened before it is verified."""

import hashlib
import logging
import os
import tarfile
import tempfile
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path

from .._utils.files import atomic

logger = logging.getLogger(__name__)


def verified(path: Path, md5: str) -> bool:
    """Whether the file is there.

    Raises: ValueError when it is there and its md5 differs; it is left as it is, for its owner to judge.
    """
    if not path.exists():
        return False
    with path.open("rb") as file:
        got = hashlib.file_digest(file, _new_md5).hexdigest()
    if got != md5:
        raise ValueError(f"{path} is damaged: its md5 is {got}, not {md5}; delete it or put the right file there")
    return True


def find_or_fetch(
    path: Path, md5: str, url: str, *, name: str, download: bool, mirror: str | None, wanted: Path | None = None
) -> None:
    """Make sure that ``path`` holds the file of this md5: it is there, or it is downloaded.

    ``name`` is the data set that needs it, ``wanted`` the file in it, for the message; ``mirror`` the URL of a folder.
    Raises: ValueError on a damaged file or a mirror that is no URL; FileNotFoundError when it cannot be had.
    """
    if verified(path, md5):
        return
    if mirror is not None:
        if not mirror.startswith(("https://", "http://", "file://")):
            raise ValueError(f"mirror must be a URL that starts with https://, http:// or file://; got {mirror!r}")
        url = f"{mirror.rstrip('/')}/{path.name}"
    missing = f"{name} is not in root {path.parent}: there is no {wanted or path}"
    advice = (
        f"Put {path.name} (md5 {md5}) into {path.parent}, point root= or LPA_DATA at a folder that has the data, "
        f"or mirror= or LPA_MIRROR at a URL that has {path.name}."
    )
    if not download:
        raise FileNotFoundError(f"{missing}, and download=False. {advice}")
    try:
        fetch(url, path, md5)
    except (OSError, HTTPException) as error:
        raise FileNotFoundError(f"{missing}, and {url} could not be downloaded ({error}). {advice}") from error


def fetch(url: str, target: Path, md5: str) -> None:
    """Download ``url`` with a progress bar to ``target``, which appears only when it is whole and its md5 right.

    Raises: OSError or HTTPException when the download fails, stops early or brings something else, or ``target``
    cannot be written.
    """
    from tqdm import tqdm

    logger.info("downloading %s to %s", url, target)
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = _new_md5()
    with urllib.request.urlopen(url, timeout=60) as answer, atomic(target) as file:
        total = int(answer.headers.get("Content-Length") or 0) or None
        with tqdm(total=total, unit="B", unit_scale=True, desc=target.name) as bar:
            while block := answer.read(1 << 20):
                file.write(block)
                digest.update(block)
                bar.update(len(block))
        if digest.hexdigest() != md5:
            raise OSError(f"what came is damaged or cut short: its md5 is {digest.hexdigest()}, not {md5}")


def unpack(archive: Path, folder: Path, files: Mapping[str, str]) -> None:
    """Take ``files`` (name: md5) out of ``archive``, which is verified, into ``folder``, each whole or not at all.

    In the archive they lie in a folder of the same name.
    """
    with tempfile.TemporaryDirectory(dir=archive.parent, prefix=".unpack-") as scratch, tarfile.open(archive) as tar:
        for file, md5 in files.items():
            tar.extract(f"{folder.name}/{file}", scratch, filter="data")
            verified(Path(scratch, folder.name, file), md5)
        folder.mkdir(exist_ok=True)
        for file in files:
            os.replace(Path(scratch, folder.name, file), folder / file)


def _new_md5() -> "hashlib._Hash":
    return hashlib.md5(usedforsecurity=False)
