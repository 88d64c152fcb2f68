"""A file that is still being fetched: its bytes, which of them are there, and how it becomes a finished file.

Two files side by side in one folder: ``<sha256>.partial`` (sparse, final size) and ``<sha256>.json`` (what it is, and
which ranges are flushed to disk). The state is written only after ``fdatasync``, so after a crash nothing is trusted
that the disk may not hold. Named by content: whatever source is asked next, the bytes fit.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from reconciler.domain.units import Bytes, show_bytes
from reconciler.errors import OutOfSpace, OutsideError, Refused, Unreachable

PARTIAL_SUFFIX = ".partial"
STATE_SUFFIX = ".json"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_FULL_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Ranges:
    """Disjoint half-open byte ranges, in order; what touches is merged.

    >>> ranges = Ranges([(0, 4), (8, 10)])
    >>> ranges.add(4, 6)
    >>> ranges.front, ranges.total, ranges.missing(12)
    (6, 8, [(6, 8), (10, 12)])
    """

    def __init__(self, spans: Iterable[tuple[int, int]] = ()) -> None:
        self._spans: list[tuple[int, int]] = []
        for start, end in spans:
            self.add(start, end)

    def add(self, start: int, end: int) -> None:
        if start >= end:
            return
        merged: list[tuple[int, int]] = []
        for span in sorted((*self._spans, (start, end))):
            if merged and span[0] <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(merged[-1][1], span[1]))
            else:
                merged.append(span)
        self._spans = merged

    @property
    def spans(self) -> tuple[tuple[int, int], ...]:
        return tuple(self._spans)

    @property
    def front(self) -> int:
        """How many bytes are there without a hole, counted from the start."""
        return self._spans[0][1] if self._spans and self._spans[0][0] == 0 else 0

    @property
    def total(self) -> int:
        return sum(end - start for start, end in self._spans)

    def missing(self, size: int) -> list[tuple[int, int]]:
        """The holes up to ``size``, in order."""
        holes, at = [], 0
        for start, end in (*self._spans, (size, size)):
            if at < start:
                holes.append((at, min(start, size)))
            at = max(at, end)
        return holes


@dataclass(frozen=True, slots=True)
class Wanted:
    """One file to be fetched, as its artifact promises it."""

    url: str
    commit: str
    sha256: str
    size: Bytes
    name: str
    """Canonical name of the model it is for: whose partial this is."""


@dataclass(frozen=True, slots=True)
class PartialState:
    """What a state file says; every field checked, nothing trusted."""

    name: str
    sha256: str
    size: int
    ranges: Ranges = field(default_factory=Ranges)

    @classmethod
    def read(cls, path: Path) -> PartialState | None:
        """The state, or None where it is missing or damaged."""
        try:
            raw: Any = json.loads(path.read_bytes())
            spans = [(int(start), int(end)) for start, end in raw["ranges"]]
            state = cls(str(raw["name"]), str(raw["sha256"]), int(raw["size"]), Ranges(spans))
        except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
            return None
        inside = all(0 <= start <= end <= state.size for start, end in state.ranges.spans)
        return state if inside and state.sha256 == path.name.removesuffix(STATE_SUFFIX) else None


class Partial:
    """An open partial file, locked against other processes. Use as a context manager: leaving it keeps the bytes.

    Raises:
        Refused: the digest or size cannot be one, or the folder cannot be written.
        Unreachable: another process is fetching the same content now (retryable).
    """

    def __init__(self, folder: Path, wanted: Wanted) -> None:
        if not _SHA256.fullmatch(wanted.sha256) or wanted.size < 0:
            raise Refused(
                f"{wanted.name}: without a SHA-256 and a size it cannot be verified, so it is not fetched",
                code="not-installable",
                details={"sha256": wanted.sha256, "size": wanted.size},
            )
        self.wanted = wanted
        self.path = folder / f"{wanted.sha256}{PARTIAL_SUFFIX}"
        self.state_path = folder / f"{wanted.sha256}{STATE_SUFFIX}"
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self.descriptor = _open_locked(self.path, wanted.name)
        try:
            with disk_errors(self.path):
                self.written = self._trusted()
        except BaseException:
            self.close()
            raise
        self.resumed_bytes = self.written.total

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def is_complete(self) -> bool:
        return self.written.front >= self.wanted.size

    @property
    def missing_disk_bytes(self) -> int:
        """What the file system must still find room for."""
        return max(0, self.wanted.size - self.written.total)

    def _trusted(self) -> Ranges:
        """Ranges that the state names and the file is long enough to hold."""
        length = os.fstat(self.descriptor).st_size
        state = PartialState.read(self.state_path)
        if state is None or state.size != self.wanted.size or length != state.size:
            os.ftruncate(self.descriptor, 0)
            os.ftruncate(self.descriptor, self.wanted.size)
            self._save_state(Ranges())
            return Ranges()
        return state.ranges

    def write(self, offset: int, content: bytes | bytearray) -> None:
        """Put bytes in place; they count only once the caller adds them to ``written``. Blocks; safe in a thread."""
        with disk_errors(self.path):
            view, at = memoryview(content), offset
            while view:
                count = os.pwrite(self.descriptor, view, at)
                view, at = view[count:], at + count

    def checkpoint(self, spans: Ranges) -> None:
        """Make ``spans`` durable: content first, then the state that vouches for it. Blocks; safe in a thread."""
        with disk_errors(self.path):
            os.fsync(self.descriptor)
            self._save_state(spans)

    def _save_state(self, spans: Ranges) -> None:
        state = {
            "name": self.wanted.name,
            "url": self.wanted.url.partition("?")[0],
            "commit": self.wanted.commit,
            "sha256": self.wanted.sha256,
            "size": self.wanted.size,
            "ranges": [list(span) for span in spans.spans],
        }
        fresh = self.state_path.with_suffix(".new")
        fresh.write_text(json.dumps(state), encoding="utf-8")
        fresh.replace(self.state_path)

    def start_over(self) -> None:
        """Forget every byte: the source turned out to send other content, or no ranges."""
        self.written = Ranges()
        with disk_errors(self.path):
            self._save_state(self.written)

    def discard(self) -> None:
        """Throw the bytes away: they are not what was promised."""
        for path in (self.state_path, self.path):
            with suppress(OSError):
                path.unlink()

    def finish(self, destination: Path) -> None:
        """Move the verified file to its place, durably and at once; what stood there is replaced.

        Raises:
            Refused: the place cannot be written.
        """
        with disk_errors(destination):
            os.fsync(self.descriptor)
            destination.parent.mkdir(parents=True, exist_ok=True)
            self.path.replace(destination)
            fsync_folder(destination.parent)
            self.state_path.unlink(missing_ok=True)

    def close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


class disk_errors:  # noqa: N801 - reads as a statement: ``with disk_errors(path):``
    """Turns ``OSError`` into ours: a full disk is ``OutOfSpace``, everything else ``Refused`` with the reason."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, OSError):
            raise _in_our_words(error, self._path) from error


def _in_our_words(error: OSError, path: Path) -> OutsideError:
    why = error.strerror or type(error).__name__
    if error.errno in _FULL_DISK:
        return OutOfSpace(
            f"{path}: {why}; what has arrived is kept",
            hint="free some disk, then apply again: the download goes on where it stopped",
            details={"path": str(path)},
        )
    return Refused(
        f"{path}: {why}",
        code="not-writable",
        hint="check that the folder exists, is mounted and may be written by this user",
        details={"path": str(path)},
    )


def ensure_room(folder: Path, needed: int, reserve_bytes: int) -> None:
    """Refuse to begin, or to go on, when ``needed`` bytes would leave less than ``reserve_bytes`` free.

    Raises:
        OutOfSpace: with needed, free and reserve in ``details``.
    """
    with disk_errors(folder):
        there = os.statvfs(folder)
    free = there.f_bavail * there.f_frsize
    if needed > 0 and free - needed < reserve_bytes:
        kept = f", of which {show_bytes(reserve_bytes)} must stay free" if reserve_bytes else ""
        raise OutOfSpace(
            f"{folder}: {show_bytes(needed)} still to fetch, {show_bytes(free)} free{kept}",
            hint="free some disk or lower pool.minFreeDisk; what has arrived is kept",
            details={"neededBytes": needed, "freeBytes": free, "reserveBytes": reserve_bytes, "path": str(folder)},
        )


def fsync_folder(folder: Path) -> None:
    """Make a rename in ``folder`` survive a power cut, where the file system can."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(descriptor)


def is_being_fetched(paths: Iterable[Path]) -> bool:
    """Whether a process holds one of these partial files open as its own."""
    for path in paths:
        if path.suffix != PARTIAL_SUFFIX:
            continue
        with suppress(FileNotFoundError):
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            finally:
                os.close(descriptor)
    return False


def _open_locked(path: Path, name: str) -> int:
    """A descriptor that holds the lock on the file that stands at ``path`` now (not on one renamed away meanwhile)."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_same_file(descriptor, path):
                return descriptor
        except BlockingIOError as error:
            os.close(descriptor)
            raise Unreachable(
                f"{name}: another process is fetching the same file now",
                code="download-locked",
                hint="wait for it, then apply again",
                details={"path": str(path)},
            ) from error
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _is_same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat(follow_symlinks=False))
    except FileNotFoundError:
        return False
