"""The record on disk: ``<state>/<document>/record.json``, with its journal and its lock beside it.

What does not belong here: what is in a record (domain), and when it changes (engine).
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from pathlib import Path

from pydantic import ValidationError

from reconciler.domain.record import Record
from reconciler.errors import RecordConflict, RecordError, RecordUnreadable
from reconciler.integrations.journal import Journal
from reconciler.integrations.lock import hold_lock
from reconciler.integrations.replace_file import replace_file
from reconciler.ports import Clock

_TEMPORARY = "record.json.tmp-"
_PLAIN_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class FileRecordStore:
    """One document's record in a folder of its own.

    Saving writes a temporary file, flushes it, renames it over the record and flushes the folder: after a crash at any
    point the record is the old one or the new one, whole. Calls do not yield while they write, so that a cancelled
    run cannot leave a save behind it.
    """

    def __init__(self, directory: Path, name: str, clock: Clock) -> None:
        """Name the folder; nothing is created before something is written.

        Args:
            directory: the state directory, shared by every document of this user.
            name: the document's name, any text.
            clock: names what is set aside, and dates the lock.
        """
        self._name = name
        self._folder = directory / folder_name(name)
        self._clock = clock
        self._journal = Journal(self._folder / "journal.jsonl", opening=self._opening)

    @property
    def path(self) -> Path:
        """Where the record stands."""
        return self._folder / "record.json"

    async def load(self) -> Record:
        try:
            raw = self.path.read_bytes()
        except FileNotFoundError:
            self._refuse_to_forget()
            return Record(name=self._name)
        except OSError as error:
            raise _unwritable("read", self.path, error) from error
        return self._parsed(raw)

    async def save(self, record: Record) -> None:
        with self._writing("save"):
            self._write(record.model_dump_json(indent=1) + "\n")

    async def journal(self, line: dict[str, object]) -> None:
        with self._writing("journal"):
            self._journal.append({"at": self._clock.now().isoformat(), **line})

    async def history(self) -> tuple[dict[str, object], ...]:
        try:
            return tuple(self._journal.lines())
        except OSError as error:
            raise _unwritable("read", self._folder, error) from error

    async def others(self) -> tuple[Record, ...]:
        found = []
        for path in sorted(self._folder.parent.glob("*/record.json")):
            if path == self.path:
                continue
            with suppress(OSError, ValidationError):
                found.append(Record.model_validate_json(path.read_bytes()))
        return tuple(found)

    def lock(self, *, timeout_seconds: float) -> AbstractAsyncContextManager[None]:
        return self._locked(timeout_seconds)

    @asynccontextmanager
    async def _locked(self, timeout_seconds: float) -> AsyncIterator[None]:
        with self._writing("lock"):
            pass
        async with hold_lock(self._folder / "lock", self._clock, timeout_seconds=timeout_seconds):
            self._sweep_temporaries()
            yield

    def _write(self, text: str) -> None:
        replace_file(self.path, text.encode(), temporary=_TEMPORARY)
        _flush_folder(self._folder)

    def _parsed(self, raw: bytes) -> Record:
        try:
            record = Record.model_validate_json(raw)
        except ValidationError as error:
            raise self._set_aside(_what_is_wrong(raw, error)) from error
        if record.name != self._name:
            raise RecordConflict(
                f"{self.path} is the record of {record.name!r}, not of {self._name!r}",
                hint="give the document another name",
                details={"path": str(self.path), "name": record.name},
            )
        return record

    def _set_aside(self, why: str) -> RecordUnreadable:
        aside = self.path.with_name(f"record.json.bad-{self._clock.now():%Y%m%dT%H%M%S.%fZ}")
        try:
            self.path.rename(aside)
        except OSError:
            aside = self.path
        return _unreadable(f"{why}; it is kept as {aside}, and nothing was changed", aside)

    def _opening(self) -> dict[str, object] | None:
        """The record as it is saved: the line a journal begins with."""
        try:
            record = Record.model_validate_json(self.path.read_bytes())
        except (OSError, ValidationError):
            return None
        facts = {"document": record.name, "source": record.source, "after": record.generation}
        whole = record.model_dump(mode="json", by_alias=True)
        return {"at": self._clock.now().isoformat(), "event": "opened", **facts, "generation": record.generation,
                "closes": [], "whole": whole}  # fmt: skip

    def _refuse_to_forget(self) -> None:
        """A record that was set aside or lost is not the same as none: going on would disown every model in silence."""
        aside = sorted(self._folder.glob("record.json.bad-*"))
        if aside:
            raise _unreadable(f"the record was set aside as {aside[-1]} and nothing took its place", aside[-1])
        if self._was_saved():
            raise _unreadable(f"{self.path} is gone, and the journal beside it says that there was one", self.path)

    def _was_saved(self) -> bool:
        """A line that follows another state than the empty one was written after a save."""
        try:
            return any(isinstance(after := line.get("after"), int) and after > 0 for line in self._journal.lines())
        except OSError:
            return False

    def _sweep_temporaries(self) -> None:
        """What a crash in the middle of a save left behind; safe under the lock."""
        for leftover in self._folder.glob(f"{_TEMPORARY}*"):
            with suppress(OSError):
                leftover.unlink()

    @contextmanager
    def _writing(self, what: str) -> Iterator[None]:
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            yield
        except OSError as error:
            raise _unwritable(what, self._folder, error) from error


def folder_name(name: str) -> str:
    """A folder for any document name: the name itself where it is plain, else what is plain of it and a digest.

    Lower case only, so that two names never meet on a file system that ignores case.

    >>> folder_name("workstation")
    'workstation'
    >>> folder_name("../Team A")
    'team-a-b5995121'
    """
    if _PLAIN_NAME.fullmatch(name):
        return name
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40]
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{slug}-{digest}" if slug else digest


def _what_is_wrong(raw: bytes, error: ValidationError) -> str:
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return f"the record is not whole JSON ({len(raw)} bytes: {first['msg']})"
    place = ".".join(str(part) for part in first["loc"])
    if place in ("formatVersion", "format_version"):
        return f"the record has format version {first['input']!r}, and this program reads version 1"
    return f"the record is not valid at {place or 'its top'}: {first['msg']}"


def _unreadable(message: str, aside: Path) -> RecordUnreadable:
    return RecordUnreadable(
        message,
        hint=(
            "`localmodels rebuild` makes it again from its journal and what the targets hold; or move it back to "
            "record.json once repaired (or with the program version that wrote it); or delete its folder to start with "
            "an empty record: installed models then count as foreign until `localmodels adopt`"
        ),
        details={"path": str(aside)},
    )


_NO_ROOM = "give the state directory to this user and free some space on it, or set LOCALMODELS_STATE_DIR to another"
_IN_THE_WAY = (
    "something else stands where a file or a folder of the record belongs: move it away, or set LOCALMODELS_STATE_DIR "
    "to another folder; `localmodels rebuild` makes a lost record again from its journal and what the targets hold"
)


def _unwritable(what: str, path: Path, error: OSError) -> RecordError:
    in_the_way = isinstance(error, IsADirectoryError | NotADirectoryError | FileExistsError)
    return RecordError(
        f"cannot {what} the record at {path}: {error.strerror or error}",
        hint=_IN_THE_WAY if in_the_way else _NO_ROOM,
        details={"path": str(path)},
    )


def _flush_folder(folder: Path) -> None:
    """A rename is durable only once its folder is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
