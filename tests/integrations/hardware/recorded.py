"""A recorded machine behind the edges of the detector."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from reconciler.domain.hardware import HardwareReading
from reconciler.errors import Refused, Unreachable
from reconciler.integrations.hardware.detector import Detector
from reconciler.integrations.hardware.edges import linux_brand

RECORDINGS = Path(__file__).parent / "recordings"
NOW = datetime(2026, 11, 22, 12, 0, 0, 123000, tzinfo=UTC)
GIB = 2**30


class StillClock:
    def __init__(self, now: datetime = NOW) -> None:
        self.instant = now

    def now(self) -> datetime:
        return self.instant

    def elapsed(self) -> float:
        return (self.instant - NOW).total_seconds()

    def advance(self, **span: float) -> None:
        self.instant += timedelta(**span)

    async def sleep(self, seconds: float) -> None:
        self.advance(seconds=seconds)


class RecordedMachine:
    """Shell, file tree and operating system of one recording; counts the programs that were started."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.system = document.get("system", "linux")
        self.arch = document.get("arch", "x86_64")
        self.node = "recorded"
        self.environment: dict[str, str] = dict(document.get("environment", {}))
        self.programs: dict[str, Any] = dict(document.get("programs", {}))
        self.files: dict[str, list[str]] = dict(document.get("files", {}))
        self.document = document
        self.runs: list[str] = []

    def run(self, argv: Sequence[str]) -> str:
        command = " ".join(argv)
        self.runs.append(command)
        answer = self.programs.get(command)
        if answer is None and any(known.split(" ")[0] == argv[0] for known in self.programs):
            raise Refused(f"{argv[0]} ended with 2: it knows no such question")
        if answer is None:
            raise Refused(f"{argv[0]} is not installed (No such file or directory)")
        if isinstance(answer, dict) and answer.get("hangs"):
            raise Unreachable(f"{argv[0]} did not end within 5 s")
        if isinstance(answer, dict):
            raise Refused(f"{argv[0]} ended with {answer['exit']}: {' '.join(answer['output'])}")
        return answer if isinstance(answer, str) else "\n".join(answer) + "\n"

    def read(self, path: str) -> str:
        if path not in self.files:
            raise FileNotFoundError(path)
        return "\n".join(self.files[path]).strip("\0 \n")

    def names(self, path: str) -> tuple[str, ...]:
        prefix = path.rstrip("/") + "/"
        return tuple(sorted({key[len(prefix) :].split("/")[0] for key in self.files if key.startswith(prefix)}))

    def memory(self) -> tuple[int, int | None]:
        return self.document.get("ramBytes", 16 * GIB), self.document.get("ramFreeBytes")

    def processors(self) -> tuple[str, int]:
        name = self.document.get("cpu", "")
        return name or linux_brand(self), self.document.get("cpuCount", 8)


def machine(name: str) -> RecordedMachine:
    return RecordedMachine(json.loads((RECORDINGS / f"{name}.json").read_text(encoding="utf-8")))


def detector(of: RecordedMachine, **more: Any) -> Detector:
    more.setdefault("clock", StillClock())
    return Detector(shell=of, files=of, system=of, environment=of.environment, **more)


def detect(of: RecordedMachine | str, **more: Any) -> HardwareReading:
    return detector(machine(of) if isinstance(of, str) else of, **more).probe()


def codes(reading: HardwareReading) -> list[str]:
    return [warning.code for warning in reading.warnings]


def bare(**document: Any) -> RecordedMachine:
    """A Linux machine with nothing on it but what is given."""
    return RecordedMachine(
        {"cpu": "AMD Ryzen 9 7950X 16-Core Processor", "cpuCount": 32, "ramBytes": 64 * GIB, **document}
    )
