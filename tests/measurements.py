"""Measurements with sensible defaults, and fakes of what makes and keeps them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta

from reconciler.domain.desired import Target
from reconciler.domain.measurement import Measurement, Measurements, Run, Timing, Trial, machine_key, newest
from reconciler.domain.observation import Installed
from reconciler.domain.units import Bytes
from tests.builders import hardware
from tests.fakes import FAKE_NOW

MACHINE = machine_key(hardware())


def measured(of: str = "alpha", hours: float = 0, **changes: object) -> Measurement:
    fields = {
        "machine": MACHINE, "runtime": "ollama", "model_id": f"acme/{of}", "repository": f"acme/{of}-GGUF",
        "quant": "Q4_K_M", "weights_bytes": Bytes(5_000_000_000), "context": 4096, "prompt_tokens": 130,
        "generated_tokens": 64, "decode_tokens_per_second": 42.0, "slowest": 41.0, "fastest": 43.0,
        "measured_at": FAKE_NOW + timedelta(hours=hours),
    }  # fmt: skip
    return Measurement.model_validate(fields | changes)


class MemoryMeasurementStore:
    """Measurements in memory."""

    def __init__(self, *kept: Measurement, notes: tuple[str, ...] = ()) -> None:
        self.kept = kept
        self.notes = notes
        self.waits: list[float] = []

    async def load(self, machine: str) -> Measurements:
        return Measurements(kept=tuple(one for one in self.kept if one.machine == machine), notes=self.notes)

    @asynccontextmanager
    async def measuring(self, *, timeout_seconds: float) -> AsyncIterator[None]:
        self.waits.append(timeout_seconds)
        yield

    async def add(self, measured: tuple[Measurement, ...]) -> tuple[str, ...]:
        self.kept = newest((*self.kept, *measured))
        return ()


@dataclass
class FakeMeter:
    """Times models at once, at the speed a test says."""

    on: Target
    speeds: tuple[float, ...] = (40.0, 50.0, 45.0)
    obstacles: dict[str, str] = field(default_factory=dict)
    """By name: why it cannot be measured."""
    failures: dict[str, BaseException] = field(default_factory=dict)
    hangs_on: str = ""
    """The name of a model that never ends."""
    other_load: float = 0.0
    ram: dict[str, Bytes] = field(default_factory=dict)
    """What was said of each model's share of the host's memory."""
    trials: list[tuple[str, Trial]] = field(default_factory=list)
    closed: int = 0

    async def obstacle(self, model: Installed, ram: Bytes) -> str | None:
        self.ram[model.name] = ram
        return self.obstacles.get(model.name)

    async def measure(self, model: Installed, trial: Trial) -> Timing:
        self.trials.append((model.name, trial))
        if model.name in self.failures:
            raise self.failures[model.name]
        if model.name == self.hangs_on:
            await asyncio.Event().wait()
        count = trial.generate_tokens
        runs = tuple(
            Run(prompt_tokens=130, prompt_seconds=0.5, generated_tokens=count, seconds=count / speed)
            for speed in self.speeds
        )
        return Timing(
            runtime="llama-server",
            runtime_version="b1",
            context=trial.context,
            runs=runs,
            load_seconds=1.5,
            other_load=self.other_load,
        )

    async def close(self) -> None:
        self.closed += 1
