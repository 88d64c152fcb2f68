"""What was measured, on disk: ``<state>/measurements.json``, shared by every document of this user.

One file for all machines, because a home directory may be: each measurement names its machine.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from reconciler.domain.document import Frozen
from reconciler.domain.measurement import Measurement, Measurements, flaw_of, newest
from reconciler.errors import RecordError
from reconciler.integrations.lock import hold_lock
from reconciler.integrations.replace_file import replace_file
from reconciler.ports import Clock

LOCK_SECONDS = 10.0
_MOST_TOLD = 3
MOST_BYTES = 16 * 2**20
"""A larger file is none of ours."""


class _Kept(Frozen):
    """The file."""

    format_version: Literal[1] = 1
    measurements: tuple[Measurement, ...] = ()


class _Read(Frozen):
    """The file as it was found: what is in its list is looked at one by one."""

    format_version: Literal[1] = 1
    measurements: tuple[Any, ...] = ()


class MeasurementFile:
    """The ``MeasurementStore`` port over one file: a temporary file, flushed and renamed over it."""

    def __init__(self, directory: Path, clock: Clock) -> None:
        """Name the file; nothing is created before something is written.

        Args:
            directory: the state directory.
            clock: names what is set aside, and waits for the lock.
        """
        self._path = directory / "measurements.json"
        self._clock = clock

    @property
    def path(self) -> Path:
        """Where they stand."""
        return self._path

    async def load(self, machine: str) -> Measurements:
        kept, wrong = self._read()
        own = tuple(one for one in kept if one.machine == machine)
        left = "it counts for nothing" if kept else "nothing measured counts"
        notes = (f"{wrong}: {left}; measure again",) if wrong else ()
        return Measurements(kept=own, notes=notes)

    @asynccontextmanager
    async def measuring(self, *, timeout_seconds: float) -> AsyncIterator[None]:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise self._unwritable(error) from error
        lock = self._path.with_name("measuring.lock")
        async with hold_lock(lock, self._clock, timeout_seconds=timeout_seconds, work="measuring"):
            yield

    async def add(self, measured: tuple[Measurement, ...]) -> tuple[str, ...]:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            async with hold_lock(self._path.with_suffix(".lock"), self._clock, timeout_seconds=LOCK_SECONDS):
                kept, wrong = self._read()
                notes = (self._set_aside(wrong),) if wrong else ()
                self._write(newest((*kept, *measured)))
        except OSError as error:
            raise self._unwritable(error) from error
        return notes

    def _unwritable(self, error: OSError) -> RecordError:
        return RecordError(
            f"cannot keep what was measured at {self._path}: {error.strerror or error}",
            hint="give the state directory to this user and free some space on it, or set LOCALMODELS_STATE_DIR",
            details={"path": str(self._path)},
        )

    def _read(self) -> tuple[tuple[Measurement, ...], str | None]:
        """The measurements, and what is wrong with the file."""
        try:
            with self._path.open("rb") as file:
                raw = file.read(MOST_BYTES + 1)
        except FileNotFoundError:
            return (), None
        except OSError as error:
            return (), f"{self._path} cannot be read ({error.strerror or error})"
        if len(raw) > MOST_BYTES:
            return (), f"{self._path} is larger than {MOST_BYTES} bytes"
        try:
            return self._sound(_Read.model_validate_json(raw).measurements)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"]) or "its top"
            return (), f"{self._path} is not what this program wrote ({first['msg']} at {place})"

    def _sound(self, found: tuple[Any, ...]) -> tuple[tuple[Measurement, ...], str | None]:
        """Those that are measurements, and what the others are."""
        kept, wrong = [], []
        for number, item in enumerate(found):
            try:
                one = Measurement.model_validate_json(json.dumps(item))
            except ValidationError as error:
                first = error.errors()[0]
                place = ".".join(str(part) for part in first["loc"]) or "its top"
                wrong.append(f"number {number + 1}: {first['msg']} at {place}")
                continue
            flaw = flaw_of(one)
            if flaw is None:
                kept.append(one)
            else:
                wrong.append(f"{one.name or one.model_id} {one.quant}: {flaw}")
        more = f" and {len(wrong) - _MOST_TOLD} more" if len(wrong) > _MOST_TOLD else ""
        return tuple(kept), (
            f"{self._path} holds what is no measurement ({'; '.join(wrong[:_MOST_TOLD])}{more})" if wrong else None
        )

    def _set_aside(self, why: str) -> str:
        aside = self._path.with_name(f"measurements.json.bad-{self._clock.now():%Y%m%dT%H%M%S.%fZ}")
        self._path.rename(aside)
        return f"{why}: it is kept as {aside.name}, and a new one was begun"

    def _write(self, measurements: tuple[Measurement, ...]) -> None:
        text = _Kept(measurements=measurements).model_dump_json(indent=1) + "\n"
        replace_file(self._path, text.encode(), temporary="measurements.tmp-")
