"""Which SHA-256 a file had when it looked like this: so that a large file is read whole only once.

Keyed by path and stamp (size, modification time in ns, inode); a file that was touched has another stamp and is simply
not known. Safe to delete at any time, and safe to damage: what cannot be read is empty.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from reconciler.errors import Refused

FILE_NAME = "store-digests.json"
MOST_ENTRIES = 10_000
BLOCK_BYTES = 4 * 2**20


def stamp_of(there: os.stat_result) -> str:
    """Opaque; equal stamps mean the content was not touched. The change time tells of an mtime that was put back."""
    return f"{there.st_size}:{there.st_mtime_ns}:{there.st_ctime_ns}:{there.st_ino}"


class DigestCache:
    """Digests by path and stamp.

    Args:
        directory: of the cache file, made when first needed; None keeps everything in memory.
    """

    def __init__(self, directory: Path | None) -> None:
        self._path = None if directory is None else directory / FILE_NAME
        self._entries: dict[str, tuple[str, str]] | None = None

    def get(self, path: Path, stamp: str) -> str | None:
        """Hex SHA-256, where it is known for this very stamp."""
        if self._entries is None:
            self._entries = self._load()
        known = self._entries.get(str(path))
        return known[1] if known is not None and known[0] == stamp else None

    def put(self, path: Path, stamp: str, sha256: str) -> None:
        """Remember; what another process wrote meanwhile is kept. A cache that cannot be written is no failure."""
        entries = {**self._load(), **(self._entries or {})}
        entries.pop(str(path), None)
        entries[str(path)] = (stamp, sha256)
        self._entries = dict(list(entries.items())[-MOST_ENTRIES:])
        with suppress(OSError):
            self._save(self._entries)

    def sha256(self, path: Path) -> str:
        """Hex SHA-256 of a file, which is read whole unless it is known as it stands now. Raises ``OSError``."""
        with path.open("rb") as file:
            stamp = stamp_of(os.fstat(file.fileno()))
            found = self.get(path, stamp)
            if found is None:
                found = hashlib.file_digest(file, "sha256").hexdigest()
                if stamp_of(os.fstat(file.fileno())) == stamp:
                    self.put(path, stamp, found)
        return found

    def _load(self) -> dict[str, tuple[str, str]]:
        if self._path is None:
            return {}
        try:
            raw: Any = json.loads(self._path.read_bytes())
            return {str(path): (str(stamp), str(sha256)) for path, (stamp, sha256) in raw["files"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return {}

    def _save(self, entries: dict[str, tuple[str, str]]) -> None:
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._path.with_suffix(f".{os.getpid()}.new")
        fresh.write_text(json.dumps({"files": entries}), encoding="utf-8")
        fresh.replace(self._path)


class Stopped(Exception):
    """Reading was given up because ``stop`` said so."""


def hashed(
    path: Path, *, moved: Callable[[int], None] = lambda _: None, stop: Callable[[], bool] = lambda: False
) -> tuple[str, str]:
    """(hex SHA-256, stamp) of a whole file. Blocks: run it in a thread.

    Args:
        path: a regular file.
        moved: told the bytes read so far, after every block.
        stop: asked before every block.

    Raises:
        Refused: the file cannot be read, or somebody writes to it now.
        Stopped: ``stop`` returned true.
    """
    hasher, done = hashlib.sha256(), 0
    try:
        with path.open("rb", buffering=0) as file:
            before = stamp_of(os.fstat(file.fileno()))
            while block := file.read(BLOCK_BYTES):
                if stop():
                    raise Stopped
                hasher.update(block)
                done += len(block)
                moved(done)
            after = stamp_of(os.fstat(file.fileno()))
    except OSError as error:
        raise Refused(
            f"{path}: {error.strerror or type(error).__name__}", code="not-readable", details={"path": str(path)}
        ) from error
    if before != after:
        raise Refused(f"{path} is being written by another program", code="content-changed", hint="try again later")
    return hasher.hexdigest(), after
