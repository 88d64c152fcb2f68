"""Adapters on this machine's disk: found without following links out of their folder, read in bounded pieces."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from io import BufferedReader
from itertools import islice
from pathlib import Path
from typing import Protocol

from reconciler.domain.units import Bytes
from reconciler.errors import Refused
from reconciler.integrations.regular_file import open_regular
from reconciler.lora.adapter_files import (
    CONFIG,
    INDEX,
    MLX,
    PICKLE,
    SAFETENSORS,
    SHARDS_AT_MOST,
    AdapterFile,
    AdapterPlace,
    is_shard,
)

_ENTRIES_AT_MOST = 10_000
_GGUF_AT_MOST = 64
_NOWHERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EINVAL})


class KnownDigests(Protocol):
    """Hex SHA-256 of files by path and stamp; what was touched has another stamp."""

    def get(self, path: Path, stamp: str) -> str | None: ...
    def put(self, path: Path, stamp: str, sha256: str) -> None: ...


class LocalAdapterFiles:
    """``AdapterFiles`` on a file system.

    A link may lead to another file of the adapter's own folder. In a snapshot of the Hub's cache every file is a link
    to the blobs of its repository, which is as much its own. Everything else that leads out is refused, for an adapter
    that somebody hands over must not make a program read, hash or name files of the one who looks at it.

    Args:
        environment: for ``~``.
        known: where digests are remembered, so that a file is read whole once; None: it is read every time.
    """

    def __init__(self, environment: Mapping[str, str], known: KnownDigests | None = None) -> None:
        self._home = environment.get("HOME")
        self._known = known

    def find(self, given: str) -> AdapterPlace:
        path = self._expanded(given)
        shown = path.rstrip("/") or path
        found = _stat(path)
        if found is None:
            return AdapterPlace(shown, exists=False)
        if stat.S_ISDIR(found.st_mode):
            return _folder(shown, shown)
        if not stat.S_ISREG(found.st_mode):
            raise Refused(f"{shown} is neither a file nor a folder", code="not-readable", hint="name either")
        folder = os.path.dirname(shown) or "."  # noqa: PTH120 - text in, text out: what was typed is shown again
        name = os.path.basename(shown)  # noqa: PTH119
        if name == CONFIG or is_shard(name):
            return _folder(folder, folder)
        return _single(shown, folder, found)

    def beginning(self, path: str, count: int) -> bytes:
        with _opened(path) as file:
            return file.read(count)

    def digest(self, path: str) -> str:
        with _opened(path) as file:
            before = _stamp(os.fstat(file.fileno()))
            known = self._known.get(Path(path), before) if self._known is not None else None
            if known is not None:
                return known
            hexdigest = hashlib.file_digest(file, "sha256").hexdigest()
            after = _stamp(os.fstat(file.fileno()))
        if before != after:
            raise Refused(f"{path} is being written by another program", code="content-changed", hint="try again later")
        if self._known is not None:
            self._known.put(Path(path), after, hexdigest)
        return hexdigest

    def size(self, path: str) -> Bytes:
        with _opened(path) as file:
            return Bytes(os.fstat(file.fileno()).st_size)

    def _expanded(self, given: str) -> str:
        return f"{self._home}/{given[2:]}" if given.startswith("~/") and self._home else given


def _stamp(found: os.stat_result) -> str:
    """The change time tells of dates that were put back."""
    return f"{found.st_dev}:{found.st_ino}:{found.st_size}:{found.st_mtime_ns}:{found.st_ctime_ns}"


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)  # noqa: PTH116 - a path that is not one is an answer here
    except ValueError:
        return None
    except OSError as error:
        if error.errno in _NOWHERE:
            return None
        raise _unreadable(path, error) from error


def _folder(shown: str, folder: str) -> AdapterPlace:
    refused: list[tuple[str, str]] = []
    listed = _names(folder)
    gguf = [name for name in listed if name.lower().endswith(".gguf")][:_GGUF_AT_MOST]
    shards = [name for name in listed if is_shard(name)][: SHARDS_AT_MOST + 1] if SAFETENSORS not in listed else []
    found = {
        name: file
        for name in (CONFIG, INDEX, SAFETENSORS, *shards, MLX, PICKLE, *gguf)
        if (file := _own(folder, name, refused))
    }
    config, index = found.pop(CONFIG, None), found.pop(INDEX, None)
    weights = tuple(found.values())
    return AdapterPlace(shown, exists=True, folder=folder, config=config, weights=weights, index=index,
                        refused=tuple(refused))  # fmt: skip


def _single(shown: str, folder: str, found: os.stat_result) -> AdapterPlace:
    refused: list[tuple[str, str]] = []
    own = AdapterFile(os.path.basename(shown), shown, Bytes(found.st_size))  # noqa: PTH119
    is_weights = shown.lower().endswith((".safetensors", ".gguf", ".bin", ".pt", ".pth"))
    config = None if shown.lower().endswith(".gguf") else _own(folder, CONFIG, refused)
    return AdapterPlace(
        shown,
        exists=True,
        folder=folder,
        config=config,
        weights=(own,) if is_weights else (),
        refused=tuple(refused),
        is_file=True,
    )


def _names(folder: str) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(each.name for each in islice(entries, _ENTRIES_AT_MOST))
    except OSError as error:
        raise _unreadable(folder, error) from error


def _own(folder: str, name: str, refused: list[tuple[str, str]]) -> AdapterFile | None:
    """A file of the folder; None: there is none, or it is refused."""
    path = f"{folder}/{name}"
    if not os.path.lexists(path):
        return None
    try:
        real = os.path.realpath(path, strict=True)
        found = os.stat(real)  # noqa: PTH116
    except OSError as error:
        reason = "links in a circle" if error.errno == errno.ELOOP else error.strerror or type(error).__name__
        refused.append((name, reason))
        return None
    if not stat.S_ISREG(found.st_mode):
        refused.append((name, "not a regular file"))
    elif not any(os.path.commonpath((root, real)) == root for root in _roots(folder)):
        refused.append((name, "a link that leads out of the adapter's folder"))
    else:
        return AdapterFile(name, path, Bytes(found.st_size))
    return None


def _roots(folder: str) -> Iterator[str]:
    """Where an adapter's own files may really be."""
    real = Path(os.path.realpath(folder))
    yield str(real)
    if real.parent.name == "snapshots" and real.parent.parent.name.startswith("models--"):
        yield str(real.parent.parent / "blobs")


def _opened(path: str) -> BufferedReader:
    try:
        file = open_regular(path)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    if file is None:
        raise Refused(f"{path} is not a regular file", code="not-readable", hint="name a file")
    return file


def _unreadable(path: str, error: OSError | ValueError) -> Refused:
    reason = (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
    hint = "see that the path is right" if _is_nowhere(error) else "see who may read it"
    return Refused(f"{path} cannot be read: {reason}", code="not-readable", hint=hint, details={"path": path})


def _is_nowhere(error: OSError | ValueError) -> bool:
    return isinstance(error, ValueError) or error.errno in _NOWHERE | {errno.ELOOP}
