"""The records of a store that lie in files of their own, as they are written."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterator
from typing import TYPE_CHECKING

from experiments.record import Record
from experiments.store.tables import line

if TYPE_CHECKING:
    from experiments.store.reading import Files

log = logging.getLogger("experiments")

REMEMBERED = 10_000  # records that are kept in mind, some 10 kB each


class Loose:
    """`IDENTITY/record.json` of every run that is not compacted. `left_out`: the names of those that cannot be read."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self.left_out: set[str] = set()  # what has been said once is not said again
        self._lines: dict[str, tuple[Hashable, bytes]] = {}  # by the version of the file: to ask again is cheap

    def identities(self) -> list[str]:
        return [name for name in self._files.names("") if name.isalnum()]

    def lines(self) -> Iterator[tuple[str, Hashable, bytes]]:
        """Every record: its identity, the version of its file, and its line for DuckDB. Those that cannot be read are
        logged and left out."""
        before, self._lines = self._lines, {}
        for identity in self.identities():
            name = name_of(identity)
            try:
                stamp = self._files.stamp(name)
                if stamp is None:
                    continue
                made = before.get(identity)
                if made is None or made[0] != stamp:
                    made = (stamp, line(self._files.read(name).decode(), identity))
            except FileNotFoundError:
                continue
            except (ValueError, OSError) as error:
                self.leave_out(name, error)
                continue
            if len(self._lines) < REMEMBERED:
                self._lines[identity] = made
            yield identity, made[0], made[1]

    def records(self) -> Iterator[Record]:
        """Likewise, as records."""
        for identity in self.identities():
            if (record := self._load(identity, self.leave_out)) is not None:
                yield record

    def load(self, identity: str) -> Record | None:
        """The record of a run, or None where there is none that can be read (which is logged)."""

        def repeat(name: str, error: Exception) -> None:
            log.warning("%s is not a readable record: %s; the run is repeated", self._files.address(name), error)

        return self._load(identity, repeat)

    def leave_out(self, name: str, error: Exception) -> None:
        if name not in self.left_out:
            log.warning("left out %s: %s", self._files.address(name), error)
        self.left_out.add(name)

    def _load(self, identity: str, unreadable: Callable[[str, Exception], None]) -> Record | None:
        name = name_of(identity)
        try:
            record = Record.from_json(self._files.read(name).decode())
            if record.identity != identity:
                raise ValueError(f"it is the record of {record.identity}")
            return record
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ValueError, OSError) as error:
            unreadable(name, error)
            return None


def name_of(identity: str) -> str:
    return f"{checked(identity)}/record.json"


def checked(identity: str) -> str:
    if not identity.isalnum():  # an identity is a file name: nothing in it may leave the store
        raise ValueError(f"an identity is letters and digits, but it is {identity!r}")
    return identity
