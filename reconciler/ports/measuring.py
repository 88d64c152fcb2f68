"""Timing models, and keeping what was measured on this machine."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from reconciler.domain.measurement import Measurement, Measurements, Timing, Trial
from reconciler.domain.observation import Installed
from reconciler.domain.units import Bytes


class Meter(Protocol):
    """Times the models of one target. It only reads them; what was loaded stays loaded, and nothing else does."""

    async def obstacle(self, model: Installed, ram: Bytes) -> str | None:
        """Why this model cannot be measured now, in a sentence for a person; None where it can.

        Args:
            model: as it is installed.
            ram: how much of it would lie in the host's memory.
        """
        ...

    async def measure(self, model: Installed, trial: Trial) -> Timing:
        """Load, run the fixed prompt, and unload again; also when it is cancelled.

        Raises:
            Refused, Corrupt: code ``not-measurable``: there is no speed to tell, as of an embedding model; else it
                does not run. Unreachable: it did not answer, or not within the time.
        """
        ...

    async def close(self) -> None: ...


class MeasurementStore(Protocol):
    """Keeps what was measured on this machine."""

    async def load(self, machine: str) -> Measurements:
        """What is known of one machine. Never raises and changes nothing: what cannot be read is a note."""
        ...

    def measuring(self, *, timeout_seconds: float) -> AbstractAsyncContextManager[None]:
        """While it is held nobody else measures on this machine.

        Raises:
            RecordLocked: another run measures. RecordError: nothing can be kept here.
        """
        ...

    async def add(self, measured: tuple[Measurement, ...]) -> tuple[str, ...]:
        """Keep these too, durable when it returns; notes for a person.

        Raises:
            RecordError: it cannot be written.
        """
        ...
