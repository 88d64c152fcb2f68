"""The folder that adapters are kept in: ``<root>/<digest>``, who holds each, and how one is put there or taken away.

A name under the root is given in one step and durably; what is unfinished lies under ``.new``, locked while somebody
writes to it. Every function blocks: run it in a thread.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from reconciler.domain.units import Bytes
from reconciler.errors import Refused
from reconciler.integrations.runtimes.partials import disk_errors, fsync_folder
from reconciler.lora.adapter_content import HeldFiles

_DIGEST = re.compile(r"[0-9a-f]{64}")


class AdapterShelf:
    """One such folder.

    Args:
        root: absolute; made when something is held.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def place(self, digest: str) -> Path:
        """Where everything of one adapter lies.

        Raises:
            Refused: this is no digest.
        """
        if not _DIGEST.fullmatch(digest):
            raise Refused(f"{digest!r} is no digest of an adapter", code="bad-name")
        return self.root / digest

    @contextmanager
    def draft(self, digest: str) -> Iterator[Path]:
        """A folder to write in, locked while this runs; gone afterwards unless it was put in its place."""
        with disk_errors(self.root):
            draft = self.root / ".new" / f"{digest}.{secrets.token_hex(4)}"
            draft.mkdir(parents=True)
            descriptor = os.open(draft, os.O_RDONLY)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        try:
            yield draft
        finally:
            with disk_errors(self.root), self._locked():  # a put that was cancelled may go on in its thread
                shutil.rmtree(draft, ignore_errors=True)
            os.close(descriptor)

    def put(self, draft: Path, place: Path, *, is_whole: Callable[[], bool]) -> None:
        """The draft under its name, durably and in one step.

        What somebody else put there meanwhile stays, for a server may read it already; damaged files go.

        Args:
            draft: of ``draft``.
            place: what it is to be called.
            is_whole: whether what stands there is what it should be.

        Raises:
            OutsideError: the draft has gone, or the disk says no; what stood there stands.
        """
        with disk_errors(place):
            for each in draft.iterdir():
                _fsync(each)
            fsync_folder(draft)
            with self._locked():
                draft.stat()
                place.parent.mkdir(parents=True, exist_ok=True)
                if os.path.lexists(place):
                    if is_whole():
                        return
                    aside = self.root / ".new" / f"old.{secrets.token_hex(4)}"
                    place.rename(aside)
                    draft.rename(place)
                    shutil.rmtree(aside, ignore_errors=True)
                else:
                    draft.rename(place)
                fsync_folder(place.parent)
                fsync_folder(self.root)

    def mark(self, digest: str, holder: str) -> None:
        """Whoever holds it is written down first: nobody else's run removes it then."""
        marks = self.place(digest) / "holders"
        with disk_errors(marks):
            self.root.mkdir(parents=True, exist_ok=True)
            with self._locked():
                marks.mkdir(parents=True, exist_ok=True)
                _write_mark(marks, holder)

    def keep(self, digest: str, holder: str) -> None:
        """One more holder of what is there; nothing where nothing is."""
        marks = self.place(digest) / "holders"
        with disk_errors(marks):
            if not marks.is_dir():
                return
            with self._locked():
                if marks.is_dir():
                    _write_mark(marks, holder)

    def held(self) -> tuple[HeldFiles, ...]:
        """What is there, by digest."""
        with disk_errors(self.root):
            if not self.root.is_dir():
                return ()
            found = [each for each in self.root.iterdir() if _DIGEST.fullmatch(each.name) and not each.is_symlink()]
            return tuple(
                HeldFiles(digest=each.name, bytes=_size(each), holders=_holders(each / "holders"))
                for each in sorted(found)
            )

    def drop(self, digest: str, holder: str) -> Bytes:
        """This holder lets go; everything of the adapter goes with the last one. Bytes freed."""
        place = self.place(digest)
        with disk_errors(place):
            if not place.is_dir() or place.is_symlink():
                return Bytes(0)
            with self._locked():
                _mark_of(place / "holders", holder).unlink(missing_ok=True)
                if _holders(place / "holders"):
                    return Bytes(0)
                freed = _size(place)
                doomed = self._doom(place)
            shutil.rmtree(doomed)
            return freed

    def _doom(self, place: Path) -> Path:
        """Out of its name in one step, while the store is locked; where it lies until it is removed."""
        doomed = self.root / ".new" / f"{place.name}.{secrets.token_hex(4)}"
        doomed.parent.mkdir(exist_ok=True)
        place.rename(doomed)
        fsync_folder(self.root)
        return doomed

    def sweep(self) -> None:
        """Remove what killed runs left and nobody is working on."""
        self._sweep_what_nobody_holds()
        drafts = self.root / ".new"
        with disk_errors(drafts):
            if not drafts.is_dir():
                return
            for draft in drafts.iterdir():
                if draft.is_symlink() or not draft.is_dir():
                    draft.unlink(missing_ok=True)
                elif _is_abandoned(draft):
                    shutil.rmtree(draft, ignore_errors=True)

    def _sweep_what_nobody_holds(self) -> None:
        """A run that was killed between letting go and removing, or while it wrote down that it holds, left these."""
        with disk_errors(self.root):
            if not self.root.is_dir():
                return
        with disk_errors(self.root), self._locked():
            for place in list(self.root.iterdir()):
                named = _DIGEST.fullmatch(place.name) and not place.is_symlink() and place.is_dir()
                if named and not _holders(place / "holders"):
                    shutil.rmtree(self._doom(place), ignore_errors=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Short changes of the store, one at a time across processes."""
        descriptor = os.open(self.root / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _mark_of(marks: Path, holder: str) -> Path:
    return marks / hashlib.sha256(holder.encode()).hexdigest()[:32]


def _write_mark(marks: Path, holder: str) -> None:
    """Durable when it returns: what nobody holds is swept."""
    mark = _mark_of(marks, holder)
    mark.write_text(holder, encoding="utf-8")
    _fsync(mark)
    for folder in (marks, marks.parent, marks.parent.parent):
        fsync_folder(folder)


def _holders(marks: Path) -> tuple[str, ...]:
    """Whoever is written down whole: a mark is named by its holder's hash; one that was cut off promises nothing."""
    if not marks.is_dir():
        return ()
    found = ((each, each.read_text(encoding="utf-8", errors="replace")) for each in marks.iterdir())
    return tuple(sorted(holder for each, holder in found if each == _mark_of(marks, holder)))


def _size(folder: Path) -> Bytes:
    """Of regular files, our own notes aside; links are not followed."""
    total = 0
    for path, _, names in os.walk(folder):
        if Path(path).name == "holders":
            continue
        for name in names if Path(path) != folder else []:
            with suppress(FileNotFoundError):
                total += (Path(path) / name).lstat().st_size
    return Bytes(total)


def _is_abandoned(draft: Path) -> bool:
    descriptor = os.open(draft, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
