"""The files of a store at an fsspec URL (s3://, gs://, memory://): objects appear whole, and locks are objects."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import tempfile
import threading
import time
import uuid
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any

from experiments.store.files import StoreError, inside, lock_name

log = logging.getLogger("experiments")

LOCK_S = 120.0  # a lock that has not been renewed for so long is dead: its process cannot release it


class RemoteFiles:
    """Objects below `url`, by their names relative to it. The same face as `LocalFiles`.

    There are no locks of an operating system here: a lock is an object created only if there is none, renewed while it
    is held, and taken over after `LOCK_S` without renewal. Two processes whose clocks differ by more, or one that is
    paused for longer, can hold it both: the run is then done twice, and the newest record counts.
    """

    def __init__(self, url: str) -> None:
        import fsspec

        try:
            self.remote, self.path = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise StoreError(f"the store {url} cannot be opened: {error}") from None
        self.url = url.rstrip("/")
        self.path = self.path.rstrip("/")

    def __str__(self) -> str:
        return self.url

    def address(self, name: str) -> str:
        return f"{self.url}/{inside(name)}"

    def _key(self, name: str) -> str:
        return f"{self.path}/{inside(name)}"

    def prove_writable(self) -> None:
        name = f".probe-{uuid.uuid4().hex}"
        self.write(name, b"\0")
        self.remove(name)

    def read(self, name: str) -> bytes:
        return self.remote.cat_file(self._key(name))

    def write(self, name: str, data: bytes) -> None:
        key = self._key(name)
        with _told(self.url):
            self._folder(name)
            self.remote.pipe_file(key, data)

    def names(self, folder: str) -> list[str]:
        path = self._key(folder) if folder else self.path
        self.remote.invalidate_cache(path)
        try:
            return sorted(entry.rstrip("/").rsplit("/", 1)[-1] for entry in self.remote.ls(path, detail=False))
        except FileNotFoundError:
            return []

    def remove(self, name: str) -> None:
        key = self._key(name)
        with contextlib.suppress(FileNotFoundError), _told(self.url):
            self.remote.rm_file(key)

    def stamp(self, name: str) -> Hashable:
        key = self._key(name)
        self.remote.invalidate_cache(self.remote._parent(key))
        try:
            info = self.remote.info(key)
        except FileNotFoundError:
            return None
        marks = ("ETag", "etag", "generation", "LastModified", "mtime", "created", "size")
        return tuple(str(info.get(mark)) for mark in marks)

    def size(self, name: str) -> int:
        return int(self.remote.info(self._key(name))["size"])

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="store-") as folder:
            yield Path(folder)

    def clear_scratch(self) -> None:
        """Nothing is left: scratch folders are on the machine that made them."""

    def publish(self, made: Path, name: str) -> None:
        with _told(self.url):
            self._folder(name)
            self.remote.put_file(str(made), self._key(name))

    @contextlib.contextmanager
    def guard(self, alone: bool) -> Iterator[None]:
        """Nothing holds writers back here: see docs/records.md."""
        yield

    @contextlib.contextmanager
    def lock(self, name: str, expires_s: float = LOCK_S) -> Iterator[bool]:
        """See `Store.lock`."""
        key = f".locks/{lock_name(name)}"
        owner = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex}"
        first = True
        while not self._take(key, owner, expires_s):
            if first:
                log.warning("another process is doing this: waiting for its result")
            first = False
            time.sleep(min(1.0, expires_s / 10))
        released = threading.Event()
        keeper = threading.Thread(target=self._renew, args=(key, owner, expires_s, released), daemon=True)
        keeper.start()
        try:
            yield first
        finally:
            released.set()
            keeper.join()
            if self._holder(key).get("owner") == owner:
                self.remove(key)

    def _take(self, key: str, owner: str, expires_s: float) -> bool:
        holder = self._holder(key)
        if holder and time.time() - holder["renewed"] < expires_s:
            return False
        if holder:
            self.remove(key)
        try:
            with _told(self.url):
                self._folder(key)
                self.remote.pipe_file(self._key(key), _mark(owner), mode="create")
        except FileExistsError:
            return False
        return self._holder(key).get("owner") == owner

    def _renew(self, key: str, owner: str, expires_s: float, released: threading.Event) -> None:
        while not released.wait(expires_s / 4):
            with contextlib.suppress(OSError):
                if self._holder(key).get("owner") != owner:
                    return  # somebody has taken it over: it is theirs now
                self.write(key, _mark(owner))

    def _holder(self, key: str) -> dict[str, Any]:
        try:
            found = json.loads(self.read(key))
            return {"owner": str(found["owner"]), "renewed": float(found["renewed"])}
        except FileNotFoundError:
            return {}
        except (ValueError, KeyError, TypeError):  # torn or foreign: nobody's, so that it cannot block for ever
            return {"owner": "", "renewed": 0.0}

    def _folder(self, name: str) -> None:
        """Object stores have no folders; other file systems (ssh, hdfs) need them."""
        self.remote.makedirs(self.remote._parent(self._key(name)), exist_ok=True)


def _mark(owner: str) -> bytes:
    return json.dumps({"owner": owner, "renewed": time.time()}).encode()


@contextlib.contextmanager
def _told(url: str) -> Iterator[None]:
    """A failure of a remote file system, of whatever class, as an OSError."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise OSError(None, f"{url}: {error}") from error
