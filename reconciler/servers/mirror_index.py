"""What a mirror offers: the repositories, files and digests of one directory, looked at anew for every question.

Only regular files found by walking ``<directory>/<org>/<repo>`` exist for a client, under the names found there. A
request is compared with those names and never turned into a path, so there is nothing to traverse; a link is offered
only where it stays inside the directory.
"""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from reconciler.domain.names import split_repo
from reconciler.domain.units import Bytes
from reconciler.integrations.runtimes.digest_cache import DigestCache, hashed, stamp_of

DEEPEST = 6
_UNFINISHED = (".partial", ".part", ".incomplete", ".tmp", ".crdownload", ".downloadinprogress")


@dataclass(frozen=True, slots=True)
class LooseFile:
    """One file as a look tells it; its digest is not known yet."""

    path: str
    """Inside the repository, with ``/``."""
    place: Path
    bytes: Bytes
    stamp: str
    modified: float
    """Seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class SharedFile:
    """One file with its digest."""

    loose: LooseFile
    sha256: str

    @property
    def path(self) -> str:
        return self.loose.path

    @property
    def bytes(self) -> Bytes:
        return self.loose.bytes

    @property
    def oid(self) -> str:
        """The git blob id of the LFS pointer that a real Hub would hold.

        Source: git-lfs ``docs/spec.md``, "The Pointer"; git hashes ``blob``, the length, a zero byte, the content.
        """
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {self.bytes}\n".encode()
        return hashlib.sha1(b"blob %d\0" % len(pointer) + pointer, usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True)
class SharedRepo:
    """One repository as it stands now."""

    id: str
    """``organisation/name``."""
    files: tuple[SharedFile, ...]
    """By path."""

    @property
    def commit(self) -> str:
        """40 hex digits over names and contents: the same files give the same commit on every machine."""
        listing = "".join(f"{file.path}\0{file.sha256}\n" for file in self.files)
        return hashlib.sha256(listing.encode()).hexdigest()[:40]

    @property
    def modified(self) -> float:
        return max((file.loose.modified for file in self.files), default=0.0)

    def file(self, path: str) -> SharedFile | None:
        return next((file for file in self.files if file.path == path), None)


class MirrorIndex:
    """The repositories below one directory. Safe to use from several threads.

    Args:
        directory: laid out ``<org>/<repo>/<file>``.
        digests: what is known already; every file is read whole once, before the first answer that states its digest.
    """

    def __init__(self, directory: Path, digests: DigestCache) -> None:
        self._directory = directory
        self._root = directory.resolve()
        self._digests = digests
        self._hashing = threading.Lock()

    def names(self) -> list[str]:
        """Every repository that has a file, by name."""
        found = []
        for organisation in _folders(self._directory):
            for repo in _folders(Path(organisation.path)):
                name = f"{organisation.name}/{repo.name}"
                if _is_repo(name) and next(self._walk(Path(repo.path), "", 1), None) is not None:
                    found.append(name)
        return sorted(found)

    def look(self, name: str) -> tuple[LooseFile, ...]:
        """The files of a repository by path, without reading them; empty where there is no such repository."""
        if not _is_repo(name) or name not in {f"{o.name}/{r.name}" for o, r in self._pairs(name)}:
            return ()
        return tuple(sorted(self._walk(self._directory / name, "", 1), key=lambda file: file.path))

    def repo(self, name: str, moved: Callable[[str, int], None] = lambda *_: None) -> SharedRepo | None:
        """A repository with its digests; files not seen before are read whole first.

        Raises:
            Refused: a file cannot be read, or is being written now.
        """
        loose = self.look(name)
        return SharedRepo(name, tuple(self._shared(file, moved) for file in loose)) if loose else None

    def _shared(self, file: LooseFile, moved: Callable[[str, int], None]) -> SharedFile:
        known = self._digests.get(file.place, file.stamp)
        if known is None:
            with self._hashing:
                known = self._digests.get(file.place, file.stamp)
                if known is None:
                    known, stamp = hashed(file.place, moved=lambda done: moved(file.path, done))
                    self._digests.put(file.place, stamp, known)
        return SharedFile(file, known)

    def _pairs(self, name: str) -> Iterator[tuple[os.DirEntry[str], os.DirEntry[str]]]:
        """The folders of exactly this spelling: a file system that ignores case must not answer to another one."""
        organisation, _, repo = name.partition("/")
        for outer in _folders(self._directory):
            if outer.name == organisation:
                yield from ((outer, inner) for inner in _folders(Path(outer.path)) if inner.name == repo)

    def _walk(self, folder: Path, prefix: str, depth: int) -> Iterator[LooseFile]:
        for entry in _entries(folder):
            name = f"{prefix}{entry.name}"
            if entry.name.startswith(".") or not name.isprintable() or name.lower().endswith(_UNFINISHED):
                continue
            place = Path(entry.path)
            try:
                status = entry.stat()
                inside = place.resolve().is_relative_to(self._root)
            except (OSError, RuntimeError):
                continue
            if not inside:
                continue
            if stat.S_ISREG(status.st_mode):
                yield LooseFile(name, place, Bytes(status.st_size), stamp_of(status), status.st_mtime)
            elif stat.S_ISDIR(status.st_mode) and not entry.is_symlink() and depth < DEEPEST:
                yield from self._walk(place, f"{name}/", depth + 1)


def _is_repo(name: str) -> bool:
    try:
        split_repo(name)
    except ValueError:
        return False
    return True


def _folders(folder: Path) -> list[os.DirEntry[str]]:
    return [entry for entry in _entries(folder) if not entry.name.startswith(".") and entry.is_dir()]


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """What a folder holds now; nothing where it cannot be read: a mirror offers what it can."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError:
        return []
