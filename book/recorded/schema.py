"""How any recorded file is found, read and checked: one reader, and a schema for each kind of file.

A file that was altered, lacks a field, has an unknown one or contradicts itself is refused rather than shown.
"""

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NoReturn, TypeVar

T = TypeVar("T")
# What values of a wrong kind or shape can raise while they are checked. RuntimeError is also torch's word for it.
FAILURES = (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RuntimeError)


@dataclass(frozen=True)
class Schema(Generic[T]):
    """One kind of recorded file.

    ``what`` it is called in messages. ``names`` is a regular expression that the file's name without ``.json`` fits.
    ``fields`` are those it has, no more and no fewer, with ``format`` 1 among them; ``origin`` those that say where it
    comes from and must not be empty. ``check`` raises where the rest is wrong, and gives what a reader gets. ``stem``
    is the name that the file must have. ``seal``, where the kind has one, is the field that holds ``digest`` of the
    others.
    """

    what: str
    names: str
    fields: tuple[str, ...]
    check: Callable[[Mapping[str, Any]], T]
    stem: Callable[[Mapping[str, Any]], str]
    origin: tuple[str, ...] = ()
    seal: str | None = None
    digest: Callable[[Mapping[str, Any]], str] | None = None

    def checked(self, values: Mapping[str, Any]) -> T:
        """What ``check`` makes of ``values``. Raises: ValueError naming what is wrong with them."""
        try:
            same("fields", set(values), set(self.fields))
            must(values["format"] == 1, f"format must be 1; got {values['format']!r}")
            if self.seal is not None and self.digest is not None:
                whole = values[self.seal] == self.digest(values)
                must(whole, f"{self.seal} does not fit: the record was altered after it was written")
            for key in self.origin:
                must(bool(values[key]), f"{key} must say where the numbers come from; got {values[key]!r}")
            return self.check(values)
        except FAILURES as error:
            raise ValueError(str(error) if isinstance(error, ValueError) else repr(error)) from error

    def read(self, path: str | Path) -> T:
        """The content of a file, checked.

        Raises: ValueError naming the file and what is wrong with it; OSError where there is none.
        """
        path = Path(path)
        try:
            values = json.loads(path.read_text(encoding="utf8"), parse_constant=_no_number)
            found = self.checked(values)
            must(path.stem == self.stem(values), f"it holds {self.stem(values)}")
        except FAILURES as error:
            raise ValueError(f"{path.name} is not {self.what}: {error}") from error
        return found

    def files(self, folder: str | Path) -> list[Path]:
        """The files of this kind in ``folder``, in the order of their names and seeds; [] where there is no folder."""
        found = [path for path in Path(folder).glob("*.json") if re.fullmatch(self.names, path.stem)]
        return sorted(found, key=lambda path: _natural(path.stem))

    def read_all(self, folder: str | Path) -> list[T]:
        """The content of all ``files`` of ``folder``. Raises: as ``read``."""
        return [self.read(path) for path in self.files(folder)]


def sha256_of(values: Mapping[str, Any], *, without: str, **layout: Any) -> str:
    """The sha256 of ``values`` as sorted JSON, the field ``without`` left out; ``layout`` is that of json.dumps."""
    rest = {key: value for key, value in values.items() if key != without}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, **layout).encode()).hexdigest()


def checksum(record: Mapping[str, Any]) -> str:
    """The sha256 of all of a record but its checksum."""
    return sha256_of(record, without="checksum", allow_nan=False)


def sealed(
    *, what: str, names: str, fields: tuple[str, ...], check: Callable[[Mapping[str, Any]], T], origin: tuple[str, ...]
) -> Schema[T]:
    """The schema of files that hold their own ``name`` and a ``checksum``."""
    return Schema(what, names, fields, check, lambda values: str(values["name"]), origin, "checksum", checksum)


def must(holds: bool, otherwise: str) -> None:
    """Raise ValueError(``otherwise``) unless it holds."""
    if not holds:
        raise ValueError(otherwise)


def same(what: str, found: set[str], wanted: set[str]) -> None:
    """Raise ValueError naming what is unknown or missing unless two sets of names are equal."""
    must(not found - wanted, f"{what}: unknown {', '.join(sorted(map(str, found - wanted)))}")
    must(not wanted - found, f"{what}: {', '.join(sorted(wanted - found))} missing")


def must_be_whole(what: str, share: float, of: int, *, within: float = 1e-3) -> None:
    """Raise ValueError unless ``share`` of ``of`` pictures is a whole number of them, give or take ``within``."""
    pictures = share * of
    whole = 0 <= share <= 1 and abs(pictures - round(pictures)) < within
    must(whole, f"{what} must be a whole number of {of} pictures; got {share}")


def must_be_loss(what: str, value: float) -> None:
    """Raise ValueError unless ``value`` can be a loss."""
    must(math.isfinite(value) and value >= 0, f"{what} must be finite and not negative; got {value}")


def only_seeds_differ(name: str, configs: Sequence[tuple[int, Mapping[str, Any]]], *, what: str = "configs") -> None:
    """Raise ValueError naming the fields in which the (seed, config) pairs of one name differ, if any do."""
    for seed, config in configs[1:]:
        first, other = configs[0][1], config
        differ = sorted(key for key in first.keys() | other.keys() if first.get(key) != other.get(key))
        must(
            not differ,
            f"{name}: the {what} of seeds {configs[0][0]} and {seed} differ in {', '.join(differ)}; "
            f"runs of one name may differ in their seed alone",
        )


def _natural(text: str) -> list[int | str]:
    """Text and numbers in turn, so that seed 10 comes after seed 9."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"([0-9]+)", text)]


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number that can have been measured")
