"""A study's own files in a store, below `ROOT/studies/NAME-HASH/`: states, logs and checkpoints of its units."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path

from experiments.store import Store
from experiments.study.unit_state import UnitState

log = logging.getLogger("experiments")


def report_folder(store: Store, name: str) -> Path:
    """RUNS/studies/NAME/report, for whatever of it there is; of a store elsewhere, in the folder `runs` here."""
    return (Path("runs") if store.is_remote else store.root) / "studies" / name / "report"


class StudyFolder:
    """The files of one study; `folder` is its place in the store.

    States lie in the store, wherever that is. Logs and checkpoints need a real disk: where the store is a bucket they
    lie in this machine's cache, and a unit that moves to another machine begins anew.
    """

    def __init__(self, store: Store, folder: str) -> None:
        self._store, self._folder = store, folder
        self.here = store.root / folder

    def log(self, key: str) -> Path:
        """What the unit's worker writes to stderr; locked by whoever works on the unit."""
        return self.here / "units" / f"{_checked(key)}.log"

    def checkpoint(self, key: str) -> Path:
        """The folder for what an interrupted worker goes on from."""
        return self.here / "checkpoints" / _checked(key)

    def write(self, state: UnitState) -> None:
        """Write a state. One that cannot be written costs a look at it, not the run: that is logged."""
        try:
            self._store.write_file(self._name(state.key), state.to_json().encode())
        except OSError as error:
            log.debug("the state of %s could not be written: %s", state.key, error)

    def read(self, key: str) -> UnitState | None:
        """The unit's state; None when there is none that can be read."""
        with contextlib.suppress(OSError, ValueError, TypeError):
            return UnitState.from_json(self._store.read_file(self._name(key)).decode())
        return None

    def states(self) -> dict[str, UnitState]:
        """All states, by key. What cannot be read is left out."""
        names = self._store.file_names(f"{self._folder}/units")
        keys = [name.removesuffix(".json") for name in names if name.endswith(".json")]
        return {key: state for key in keys if key.isalnum() and (state := self.read(key))}

    def _name(self, key: str) -> str:
        return f"{self._folder}/units/{_checked(key)}.json"


def _checked(key: str) -> str:
    if not key.isalnum():  # a key is a file name: nothing in it may leave the store
        raise ValueError(f"a unit's key is letters and digits, but it is {key!r}")
    return key
