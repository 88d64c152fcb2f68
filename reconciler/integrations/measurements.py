"""What was measured, on disk: ``<state>/measurements.json``, shared by every document of this user.

One file for all machines, because a home directory may be: each measurement names its machine.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from reconciler.domain.document import Frozen
from reconciler.domain.measurement import Measurement, Measurements, newest
from reconciler.errors import RecordError
from reconciler.integrations.lock import hold_lock
from reconciler.integrations.replace_file import replace_file
from reconciler.ports import Clock

LOCK_SECONDS = 10.0
MOST_BYTES = 16 * 2**20
"""A larger file is none of ours."""


class _Kept(Frozen):
    """The file."""

    format_version: Literal[1] = 1
    measurements: tuple[Measurement, ...] = ()


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
        notes = (f"{wrong}: nothing measured counts; measure again",) if wrong else ()
        return Measurements(kept=own, notes=notes)

    async def add(self, measured: tuple[Measurement, ...]) -> tuple[str, ...]:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            async with hold_lock(self._path.with_suffix(".lock"), self._clock, timeout_seconds=LOCK_SECONDS):
                kept, wrong = self._read()
                notes = (self._set_aside(wrong),) if wrong else ()
                self._write(newest((*kept, *measured)))
        except OSError as error:
            raise RecordError(
                f"cannot keep what was measured at {self._path}: {error.strerror or error}",
                hint="give the state directory to this user and free some space on it, or set LOCALMODELS_STATE_DIR",
                details={"path": str(self._path)},
            ) from error
        return notes

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
            return _Kept.model_validate_json(raw).measurements, None
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"]) or "its top"
            return (), f"{self._path} is not what this program wrote ({first['msg']} at {place})"

    def _set_aside(self, why: str) -> str:
        aside = self._path.with_name(f"measurements.json.bad-{self._clock.now():%Y%m%dT%H%M%S.%fZ}")
        self._path.rename(aside)
        return f"{why}: it is kept as {aside.name}, and a new one was begun"

    def _write(self, measurements: tuple[Measurement, ...]) -> None:
        text = _Kept(measurements=measurements).model_dump_json(indent=1) + "\n"
        replace_file(self._path, text.encode(), temporary="measurements.tmp-")
