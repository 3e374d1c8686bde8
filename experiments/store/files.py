"""The files of a store on a local disk: written at once or not at all, locked by the operating system."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import shutil
import tempfile
import uuid
from collections.abc import Hashable, Iterator
from pathlib import Path

log = logging.getLogger("experiments")


class StoreError(OSError):
    """The store cannot be read or written; the message says where and what to do."""


def write_atomic(path: Path, data: bytes) -> None:
    """Write, fsync and rename, so that `path` holds the old content or the new, never a part of it."""
    temporary = path.parent / f".{path.name}.{uuid.uuid4().hex}"
    try:
        # Opened like any file, so that the process's umask decides who may read it (mkstemp would make it private).
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    _sync(path.parent)


def inside(name: str) -> str:
    """A name of the store, as `IDENTITY/record.json`; raises ValueError for one that could lead out of it."""
    parts = name.split("/")
    if any(part in ("", ".", "..") or "\0" in part or "\\" in part for part in parts):
        raise ValueError(f"a name in a store is parts joined by /, none of them empty or .., but it is {name!r}")
    return name


def lock_name(name: str) -> str:
    if "/" in inside(name):
        raise ValueError(f"a lock's name has no /, but it is {name!r}")
    return name


class LocalFiles:
    """Files below `root`, by their names relative to it."""

    remote = None  # DuckDB opens local files itself

    def __init__(self, root: Path) -> None:
        self.root = root

    def __str__(self) -> str:
        return str(self.root)

    def address(self, name: str) -> str:
        return str(self.root / inside(name))

    def prove_writable(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=self.root) as probe:
            probe.write(b"\0" * 4096)
            probe.flush()

    def read(self, name: str) -> bytes:
        with open(self.address(name), "rb") as file:
            return file.read()

    def write(self, name: str, data: bytes) -> None:
        path = self.root / inside(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, data)

    def names(self, folder: str) -> list[str]:
        """What lies in a folder ("" is the store itself), sorted; nothing where there is none."""
        try:
            return sorted(os.listdir(self.root / inside(folder) if folder else self.root))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def remove(self, name: str) -> None:
        """Remove a file, and its folder when that was all it held."""
        path = self.root / inside(name)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        with contextlib.suppress(OSError):
            os.rmdir(path.parent)

    def stamp(self, name: str) -> Hashable:
        """What tells one version of a file from another; None where there is no file."""
        try:
            found = os.stat(self.root / inside(name))
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    def size(self, name: str) -> int:
        return os.stat(self.address(name)).st_size

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder for files that are `publish`ed when they are whole."""
        (self.root / "compacted").mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".new-", dir=self.root / "compacted"))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def clear_scratch(self) -> None:
        """Remove what a killed process left in its scratch folder."""
        for folder in (self.root / "compacted").glob(".new-*"):
            shutil.rmtree(folder, ignore_errors=True)

    def publish(self, made: Path, name: str) -> None:
        """Move a file from the scratch folder to its place; it is durable when this returns."""
        path = self.root / inside(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(made, "rb") as file:
            os.fsync(file.fileno())
        os.replace(made, path)
        for folder in (path.parent, path.parent.parent, path.parent.parent.parent):  # new folders too must stay
            _sync(folder)

    @contextlib.contextmanager
    def guard(self, alone: bool) -> Iterator[None]:
        """Many may write records at once, but none while one removes what it has compacted (`alone`)."""
        with self._lock_file("guard") as file:
            fcntl.flock(file, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
            yield

    @contextlib.contextmanager
    def lock(self, name: str) -> Iterator[bool]:
        """See `Store.lock`."""
        with self._lock_file(lock_name(name)) as file:
            first = True
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EACCES):
                    raise
                first = False
                log.warning("another process is doing this: waiting for its result")
                fcntl.flock(file, fcntl.LOCK_EX)
            yield first

    @contextlib.contextmanager
    def _lock_file(self, name: str) -> Iterator[int]:
        folder = self.root / ".locks"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = os.open(folder / name, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise StoreError(f"{folder / name} cannot be written ({error.strerror}); free or unlock it") from None
        try:
            yield file
        finally:
            os.close(file)  # which releases the lock


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
