"""Corpora on this machine: read line by line, and written whole or not at all."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from reconciler.domain.units import Bytes
from reconciler.errors import OutOfSpace, OutsideError, Refused, UsageError
from reconciler.lora.corpus import CONVENTIONAL_NAMES, MOST_BYTES_OF_A_LINE, CorpusLine
from reconciler.ports import CorpusFile, ExportDrafts

_CHUNK = 2**20
_Link = Callable[[Path, Path], object]


class LocalCorpus:
    """One corpus; see the port."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._digest: str | None = None

    @property
    def path(self) -> str:
        return str(self.file)

    def lines(self) -> Iterator[CorpusLine]:
        digest = sha256()
        try:
            with self.file.open("rb") as opened:
                before = os.fstat(opened.fileno())
                for number, (content, whole) in enumerate(_lines(opened, digest.update), start=1):
                    yield CorpusLine(number, content if whole else None)
                after = os.fstat(opened.fileno())
        except OSError as error:
            raise _outside(self.file, "read", error) from error
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise Refused(
                f"{self.file} changed while it was read", code="content-changed", hint="run again once it is written"
            )
        self._digest = digest.hexdigest()

    @property
    def sha256(self) -> str:
        if self._digest is None:
            raise RuntimeError("the corpus was not read to its end")
        return self._digest


def _lines(opened: BinaryIO, tell: Callable[[bytes], object]) -> Iterator[tuple[bytes, bool]]:
    """Every line without its break, and whether that is all of it: of one that is too long the rest is passed over."""
    while line := opened.readline(MOST_BYTES_OF_A_LINE + 1):
        tell(line)
        whole = line.endswith(b"\n") or len(line) <= MOST_BYTES_OF_A_LINE
        rest = line
        while not whole and not rest.endswith(b"\n") and (rest := opened.readline(_CHUNK)):
            tell(rest)
        yield line.removesuffix(b"\n"), whole


class LocalDrafts:
    """A data set and its manifest under other names; see the port."""

    def __init__(self, dataset: _Draft | None, manifest: _Draft | None) -> None:
        self._dataset = dataset
        self._manifest = manifest

    def add(self, line: str) -> None:
        if self._dataset is not None:
            self._dataset.write(line)

    def dataset_sha256(self) -> str | None:
        return self._dataset.sha256() if self._dataset is not None else None

    def put_manifest(self, text: str) -> str:
        if self._manifest is None:
            return text
        self._manifest.write(text)
        return self._manifest.text()

    def keep(self) -> None:
        with ExitStack() as undo:
            for draft in (self._dataset, self._manifest):
                if draft is not None:
                    undo.callback(draft.keep())
            undo.pop_all()
        for draft in (self._dataset, self._manifest):
            if draft is not None:
                draft.settle()


class _Draft:
    """One file beside its place."""

    def __init__(self, place: Path, link: _Link) -> None:
        self.place = place
        self._link = link
        mark = f"{_beginning(place)}{uuid4().hex}"
        self._written = place.parent / f"{mark}.part"
        self._old = place.parent / f"{mark}.old"
        self._made = _made_folders(place.parent)
        _sweep(place)
        try:
            handle = os.open(self._written, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._file = os.fdopen(handle, "w+b")
            with suppress(FileNotFoundError):
                self._written.chmod(stat.S_IMODE(place.stat().st_mode))
        except OSError as error:
            self._forget_folders()
            raise _outside(place, "written", error) from error

    def write(self, text: str) -> None:
        with self._told():
            self._file.write(text.encode())

    def sha256(self) -> str:
        """Of what is on the disk."""
        digest = sha256()
        with self._told():
            self._flush()
            with self._written.open("rb") as opened:
                while chunk := opened.read(_CHUNK):
                    digest.update(chunk)
        return digest.hexdigest()

    def text(self) -> str:
        with self._told():
            self._flush()
            return self._written.read_text(encoding="utf-8")

    def _flush(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())

    def keep(self) -> Callable[[], None]:
        """Put it in its place; what undoes that, for as long as its fellow may fail."""
        had_old = False
        with self._told():
            self._flush()
            with suppress(FileNotFoundError):
                self._set_aside()
                had_old = True
            try:
                self._written.replace(self.place)
            except OSError:
                if had_old:
                    self._old.replace(self.place)
                raise

        def undo() -> None:
            if had_old:
                self._old.replace(self.place)
            else:
                self.place.unlink(missing_ok=True)

        return undo

    def _set_aside(self) -> None:
        """A second name for what is there; where the file system has no such thing, its only name for a moment."""
        try:
            self._link(self.place, self._old)
        except OSError:
            if not self.place.is_file():
                raise
            self.place.replace(self._old)

    def settle(self) -> None:
        """Nothing is undone any more."""
        self._made = ()
        with suppress(OSError):
            self._old.unlink(missing_ok=True)
        with suppress(OSError):
            folder = os.open(self.place.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def discard(self) -> None:
        """Leave nothing behind."""
        with suppress(OSError):
            self._file.close()
        for left in (self._written, self._old):
            with suppress(OSError):
                left.unlink(missing_ok=True)
        self._forget_folders()

    def _forget_folders(self) -> None:
        for folder in self._made:
            with suppress(OSError):
                folder.rmdir()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise _outside(self.place, "written", error) from error


def _sweep(place: Path) -> None:
    """Throw away what a run that was killed left of this file. What is locked is being written by another run; an
    empty one may be about to be.
    """
    left = re.compile(rf"{re.escape(_beginning(place))}[0-9a-f]{{32}}\.(part|old)")
    with suppress(OSError):
        for each in sorted(place.parent.iterdir()):
            found = left.fullmatch(each.name)
            if found and (place.exists() if found[1] == "old" else each.stat().st_size > 0):
                _forget_if_idle(each)


def _forget_if_idle(file: Path) -> None:
    with suppress(OSError), file.open("rb") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.unlink()


def _beginning(place: Path) -> str:
    """How the names of a file's drafts begin."""
    return f".{place.name[:40]}."


class LocalCorpusFiles:
    """See the port ``CorpusFiles``."""

    def __init__(self, link: _Link = os.link) -> None:
        """Begin with nothing open.

        Args:
            link: gives a file a second name; not every file system can.
        """
        self._link = link

    def corpus(self, named: str) -> LocalCorpus:
        place = _expanded(named)
        with _usage(named, "file-unreadable"):
            file = _conventional(place) if place.is_dir() else place
            found = file.is_file()
        if not found:
            raise UsageError(
                f"no corpus at {file}: {_kind(file)}",
                code="file-unreadable",
                hint=f"name a file of JSON lines, or a folder with one of {', '.join(CONVENTIONAL_NAMES)}",
            )
        return LocalCorpus(file)

    def text(self, named: str, *, limit: Bytes) -> bytes:
        file = _expanded(named)
        with _usage(named, "file-unreadable"):
            if not file.is_file():
                raise UsageError(f"{file} cannot be read: {_kind(file)}", code="file-unreadable", hint="name a file")
            with file.open("rb") as opened:
                content = opened.read(limit + 1)
        if len(content) > limit:
            raise UsageError(
                f"{file} is larger than {limit:,} bytes", code="file-unreadable", hint="name a smaller file"
            )
        return content

    @contextmanager
    def drafts(
        self, out: str | None, manifest: str | None, *, apart_from: Sequence[CorpusFile]
    ) -> Iterator[ExportDrafts]:
        places = [_place(named, flag, apart_from) for named, flag in ((out, "--out"), (manifest, "--manifest"))]
        if places[0] is not None and places[1] is not None and _is_same(places[0], places[1]):
            raise UsageError(
                f"--out and --manifest are both {places[0]}", code="file-unwritable", hint="give each a file of its own"
            )
        with ExitStack() as begun:
            drafts = [_begun(place, self._link, begun) if place is not None else None for place in places]
            yield LocalDrafts(*drafts)


def _begun(place: Path, link: _Link, begun: ExitStack) -> _Draft:
    draft = _Draft(place, link)
    begun.callback(draft.discard)
    return draft


def _expanded(named: str) -> Path:
    """The path; ``~/`` at its beginning is the home folder."""
    if "\0" in named or not named.strip():
        raise UsageError(f"not a path: {named!r}", code="file-unreadable", hint="name a file")
    home = os.environ.get("HOME")
    return Path(home, named[2:]) if named.startswith("~/") and home else Path(named)


def _conventional(folder: Path) -> Path:
    """The corpus of a folder; one that is a link out of it is not taken for it.

    Raises:
        UsageError: it leads out of the folder.
    """
    found = next((folder / name for name in CONVENTIONAL_NAMES if (folder / name).is_file()), None)
    if found is None:
        return folder / CONVENTIONAL_NAMES[0]
    if not found.resolve().is_relative_to(folder.resolve()):
        raise UsageError(
            f"{found} is a link that leads out of its folder, to {found.resolve()}",
            code="file-unreadable",
            hint="name the file itself",
        )
    return found


def _place(named: str | None, flag: str, apart_from: Sequence[CorpusFile]) -> Path | None:
    """Where a file goes, links followed.

    Raises:
        UsageError: it is no place for a file, or one that is read here.
    """
    if named is None:
        return None
    with _usage(f"{flag} {named}", "file-unwritable"):
        place = _expanded(named).resolve()
        if place.exists() and not place.is_file():
            raise UsageError(f"{flag} {named} is {_kind(place)}", code="file-unwritable", hint="name a file")
    for read in apart_from:
        if _is_same(place, Path(read.path)):
            raise UsageError(
                f"{flag} {named} is {read.path}, which is read here",
                code="file-unwritable",
                hint="write to another file",
            )
    return place


@contextmanager
def _usage(what: str, code: str) -> Iterator[None]:
    """A path that cannot be used is wrong usage."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or "links in a circle"
        raise UsageError(f"{what} cannot be used: {reason}", code=code, hint="name another file") from error


def _is_same(one: Path, other: Path) -> bool:
    with suppress(OSError):
        if one.samefile(other):
            return True
    return one.resolve() == other.resolve()


def _kind(file: Path) -> str:
    if file.is_dir():
        return "a folder"
    if file.is_symlink() and not file.exists():
        return "a link that leads nowhere"
    return "no ordinary file" if file.exists() else "nothing is there"


def _made_folders(folder: Path) -> tuple[Path, ...]:
    """Make the folder; those that were not there before, the innermost first."""
    missing = []
    while not folder.exists() and folder != folder.parent:
        missing.append(folder)
        folder = folder.parent
    try:
        for one in reversed(missing):
            one.mkdir(exist_ok=True)
    except OSError as error:
        raise _outside(missing[0], "written", error) from error
    return tuple(missing)


def _outside(file: Path, what: str, error: OSError) -> OutsideError:
    reason = error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutOfSpace(f"{file} cannot be {what}: {reason}", hint="make room, or write elsewhere")
    code = "file-unreadable" if what == "read" else "file-unwritable"
    hint = "see that the folder is there, has room, and that you may use it"
    return OutsideError(f"{file} cannot be {what}: {reason}", code=code, hint=hint)
