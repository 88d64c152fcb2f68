"""One small fake per port. Each keeps what was done to it, and fails where a test says so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Literal

from reconciler.domain.adapter import AdapterFormat, HeldAdapter, ServedAdapter
from reconciler.domain.catalog import Catalogue
from reconciler.domain.desired import DesiredState, HardwareOverride, Target
from reconciler.domain.hardware import Hardware, HardwareReading
from reconciler.domain.observation import (
    Alias,
    Answer,
    DiskSpace,
    HubNeed,
    Installed,
    ObservedTarget,
    PartialDownload,
    RegistryNeed,
    TargetObservation,
    Unavailable,
    UnknownTarget,
)
from reconciler.domain.plan import Row
from reconciler.domain.record import Record
from reconciler.domain.report import Report, StepOutcome
from reconciler.domain.units import GB, GIB, Bytes
from reconciler.errors import DesiredStateError, RecordLocked, Refused, Unreachable
from reconciler.ports import Progress

FAKE_NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


class Crash(BaseException):
    """The process is gone: nothing after this line ever ran."""


MOST_SLEEPS = 20_000
"""In a test. Sleeping takes no time here: what waits for what never comes would spin, and the test hang."""


class FixedClock:
    """Time that moves only when somebody sleeps."""

    def __init__(self, now: datetime = FAKE_NOW) -> None:
        self._now = now
        self._elapsed = 0.0
        self.slept: list[float] = []

    def now(self) -> datetime:
        return self._now

    def elapsed(self) -> float:
        return self._elapsed

    def forward(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)
        self._elapsed += seconds

    def jump(self, seconds: float) -> None:
        """Somebody sets the clock; no time passes."""
        self._now += timedelta(seconds=seconds)

    async def sleep(self, seconds: float) -> None:
        assert len(self.slept) < MOST_SLEEPS, f"it waits for ever, {seconds:g} s at a time"
        self.slept.append(seconds)
        self.forward(seconds)
        await asyncio.sleep(0)


class FakeSource:
    """A file that a test edits by assignment."""

    def __init__(self, desired: DesiredState | DesiredStateError) -> None:
        self.desired = desired

    async def load(self) -> DesiredState:
        if isinstance(self.desired, DesiredStateError):
            raise self.desired
        return self.desired


class FakeProbe:
    """One machine; an override is taken at its word."""

    def __init__(self, hardware: Hardware | None = None) -> None:
        self.hardware = hardware or plain_hardware()

    def probe(self, override: HardwareOverride | None = None) -> HardwareReading:
        if override is None:
            return HardwareReading(hardware=self.hardware)
        changed = {"platform": override.platform, "ram_bytes": override.ram_bytes or self.hardware.ram_bytes}
        return HardwareReading(hardware=self.hardware.model_copy(update=changed), source="override")


def plain_hardware() -> Hardware:
    return Hardware(
        platform="cpu",
        ram_bytes=Bytes(64 * GIB),
        ram_bandwidth_gbps=60,
        ram_reserve_bytes=Bytes(4 * GIB),
        cpu_name="CPU",
        cpu_count=16,
        detected_at=FAKE_NOW,
    )


class FakeCatalog:
    """A catalogue and the answers behind it; what has no answer is not there."""

    def __init__(self, catalogue: Catalogue | None = None, answers: Iterable[Answer] = ()) -> None:
        self.catalogue = catalogue or Catalogue(
            models=(), observations=(), generated_at=date(2026, 11, 1), origin="bundled"
        )
        self.answers = {answer.need: answer for answer in answers}
        self.asked: list[HubNeed | RegistryNeed] = []
        self.freshness: list[str] = []
        self.down = False

    async def candidates(
        self, desired: DesiredState, *, freshness: Literal["offline", "cached", "refresh"]
    ) -> Catalogue:
        self.freshness.append(freshness)
        return self.catalogue

    async def resolve(self, need: HubNeed | RegistryNeed) -> Answer:
        self.asked.append(need)
        await asyncio.sleep(0)
        if self.down:
            raise Unreachable("the Hub does not answer")
        return self.answers.get(need) or Unavailable(need=need, code="not-found", message="there is no such repository")


@dataclass
class FakeRuntime:
    """A target in memory, with the faults a test asks for. Survives being opened and closed, as a real one does."""

    on: Target
    installed: dict[str, Installed] = field(default_factory=dict)
    free_bytes: int = 500 * GB
    unknown: str | None = None
    """Set: the target does not answer, for this reason."""
    hangs: bool = False
    """Observing takes for ever."""
    fail_installs: dict[str, list[BaseException]] = field(default_factory=dict)
    """By name: raised by the next installs, one each."""
    fail_removes: dict[str, list[BaseException]] = field(default_factory=dict)
    crash_after: str | None = None
    """The process dies right after this name was installed or removed."""
    stall: asyncio.Event | None = None
    """Installs write half, then wait for this."""
    aliases: dict[str, Alias] = field(default_factory=dict)
    """Stable names, whoever made them."""
    lists_aliases: bool = False
    """As an Ollama: a stable name is listed as a model too, and has a digest of its own."""
    fail_names: dict[str, list[BaseException]] = field(default_factory=dict)
    """By stable name: raised by the next steps about it, one each."""
    on_name: Callable[[str, str], None] | None = None
    """Told before a name is made or moved: the name, and the model it will stand for."""
    takes_adapters: AdapterFormat | None = None
    """Form in which it can be given adapters; None: it cannot."""
    adapters: dict[str, ServedAdapter] = field(default_factory=dict)
    """Served by name, whoever attached them."""
    fail_adapters: dict[str, list[BaseException]] = field(default_factory=dict)
    """By adapter name: raised by the next steps about it, one each; what was served serves on."""
    forgets_adapters: bool = False
    """As a vLLM: a restart loses what was attached."""
    on_attach: Callable[[HeldAdapter], None] | None = None
    """Told before an adapter is attached."""
    removes_nothing: bool = False
    """Says it removed a model, a name or an adapter and did not."""
    digests: dict[str, str] = field(default_factory=dict)
    """Content that only reading tells."""
    partials: dict[str, int] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    started: asyncio.Event = field(default_factory=asyncio.Event)
    peak_bytes: int = 0
    stamps: int = 0
    closed: int = 0
    on_install: Callable[[Row], None] | None = None

    @property
    def target(self) -> Target:
        return self.on

    async def observe(self) -> TargetObservation:
        self.calls.append("observe")
        if self.hangs:
            await asyncio.Event().wait()
        if self.unknown is not None:
            return UnknownTarget(name=self.on.name, key=self.on.key, reason=self.unknown)
        used = sum(model.bytes for model in self.installed.values())
        return ObservedTarget(
            name=self.on.name,
            key=self.on.key,
            installed=tuple(self.installed[name] for name in sorted(self.installed)) + self._listed_aliases(),
            aliases=tuple(self.aliases[name] for name in sorted(self.aliases)),
            adapters=tuple(self.adapters[name] for name in sorted(self.adapters)),
            takes_adapters=self.takes_adapters,
            disk=DiskSpace(
                device=f"disk-of-{self.on.name}", total_bytes=Bytes(1000 * GB), free_bytes=Bytes(self.free_bytes - used)
            ),
            partial_bytes=Bytes(sum(self.partials.values())),
            partial_names=tuple(sorted(self.partials)),
            partials=tuple(
                PartialDownload(name=name, bytes=Bytes(size)) for name, size in sorted(self.partials.items())
            ),
        )

    async def digest(self, name: str, progress: Progress) -> tuple[str, str]:
        self.calls.append(f"digest {name}")
        model = self.installed.get(name)
        if model is None:
            raise Refused(f"{name} is not there")
        return self.digests.get(name) or model.digest or "", model.stamp or ""

    async def install(self, row: Row, progress: Progress) -> Installed:
        self.calls.append(f"install {row.name}")
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            return await self._install(row, progress)
        finally:
            self.at_once -= 1

    async def _install(self, row: Row, progress: Progress) -> Installed:
        artifact = row.artifact
        assert artifact is not None, "an unresolved row reached the runtime"
        if self.on_install is not None:
            self.on_install(row)
        if failures := self.fail_installs.get(row.name):
            raise failures.pop(0)
        self.partials[row.name] = artifact.bytes // 2
        progress(Bytes(artifact.bytes // 2), artifact.bytes)
        self.started.set()
        if self.stall is not None:
            await self.stall.wait()
        await asyncio.sleep(0)
        self.stamps += 1
        del self.partials[row.name]
        model = Installed(
            name=row.name, bytes=artifact.bytes, digest=artifact.digest, stamp=f"{self.on.name}-{self.stamps}"
        )
        old = self.installed.get(row.name)
        self.peak_bytes = max(self.peak_bytes, self._used() + artifact.bytes)
        self.installed[row.name] = model
        assert old is None or row.action == "update", f"{row.name} was overwritten"
        self._crash_if_asked(row.name)
        return model

    async def remove(self, name: str) -> Bytes:
        self.calls.append(f"remove {name}")
        if failures := self.fail_removes.get(name):
            raise failures.pop(0)
        if name in self.installed and self.installed[name].loaded:
            raise Refused(f"{name} is loaded", code="in-use")
        freed = self.installed[name].bytes if name in self.installed else Bytes(0)
        if not self.removes_nothing:
            self.installed.pop(name, None)
            for alias in [one for one in self.aliases.values() if one.model == name]:
                self.aliases[alias.name] = alias.model_copy(update={"model": None})
        self._crash_if_asked(name)
        return freed

    async def name(self, alias: str, model: str, *, context: int | None) -> Alias:
        self.calls.append(f"name {alias} {model}")
        if failures := self.fail_names.get(alias):
            raise failures.pop(0)
        if model not in self.installed:
            raise Refused(f"{alias} was to stand for {model}, which is not there", code="not-found")
        if self.on_name is not None:
            self.on_name(alias, model)
        digest = f"{alias}={self.installed[model].digest}@{context}" if self.lists_aliases else None
        made = Alias(name=alias, model=model, digest=digest, context=context if self.lists_aliases else None)
        self.aliases[alias] = made
        self._crash_if_asked(alias)
        return made

    async def unname(self, alias: str) -> None:
        self.calls.append(f"unname {alias}")
        if failures := self.fail_names.get(alias):
            raise failures.pop(0)
        if not self.removes_nothing:
            self.aliases.pop(alias, None)
        self._crash_if_asked(alias)

    async def attach(self, adapter: HeldAdapter) -> ServedAdapter:
        self.calls.append(f"attach {adapter.name} {adapter.base}")
        if failures := self.fail_adapters.get(adapter.name):
            raise failures.pop(0)
        self._refuse_adapter(adapter)
        if self.on_attach is not None:
            self.on_attach(adapter)
        served = ServedAdapter(
            name=adapter.name, base=adapter.base, path=adapter.path, scale=adapter.scale, digest=adapter.digest
        )
        self.adapters[adapter.name] = served
        self._crash_if_asked(adapter.name)
        return served

    def _refuse_adapter(self, adapter: HeldAdapter) -> None:
        if self.unknown is not None:
            raise Unreachable(self.unknown)
        if self.takes_adapters is None:
            raise Refused(f"{self.on.name} takes no adapters", code="no-api", hint="start it with adapters")
        if adapter.format != self.takes_adapters:
            raise Refused(f"{adapter.name} is no {self.takes_adapters} adapter", code="adapter-refused")
        if adapter.name in self.installed:
            raise Refused(f"{adapter.name} is a model of its own", code="unmanaged-conflict")
        if adapter.base not in self.installed:
            raise Refused(f"{adapter.base} is not there", code="not-found")

    async def detach(self, name: str, base: str) -> None:
        self.calls.append(f"detach {name} {base}")
        if self.unknown is not None:
            raise Unreachable(self.unknown)
        if failures := self.fail_adapters.get(name):
            raise failures.pop(0)
        if not self.removes_nothing:
            self.adapters.pop(name, None)
        self._crash_if_asked(name)

    def restart(self) -> None:
        """The program of the target is started anew."""
        if self.forgets_adapters:
            self.adapters.clear()

    def _listed_aliases(self) -> tuple[Installed, ...]:
        if not self.lists_aliases:
            return ()
        return tuple(
            Installed(name=f"{alias.name}:latest", bytes=self.installed[alias.model].bytes, digest=alias.digest)
            for _, alias in sorted(self.aliases.items())
            if alias.model in self.installed
        )

    async def clean_partials(self, names: frozenset[str]) -> Bytes:
        gone = [name for name in self.partials if name not in names]
        self.calls.extend(f"clean {name}" for name in gone)
        return Bytes(sum(self.partials.pop(name) for name in gone))

    async def close(self) -> None:
        self.closed += 1

    def put(self, model: Installed) -> None:
        """Somebody else installs something."""
        self.installed[model.name] = model

    @property
    def mutations(self) -> list[str]:
        changing = {"install", "remove", "clean", "name", "unname", "attach", "detach"}
        return [call for call in self.calls if call.split()[0] in changing]

    def _used(self) -> int:
        return sum(model.bytes for model in self.installed.values())

    def _crash_if_asked(self, name: str) -> None:
        if self.crash_after == name:
            self.crash_after = None
            raise Crash


class MemoryRecordStore:
    """A record in memory, with every version that was ever saved."""

    def __init__(self, record: Record) -> None:
        self.saved = [record]
        self.lines: list[dict[str, object]] = []
        self.events: list[str] = []
        self.neighbours: tuple[Record, ...] = ()
        self.locked_by: str | None = None
        self.fail_saves: list[BaseException] = []
        self._lock = asyncio.Lock()

    @property
    def record(self) -> Record:
        return self.saved[-1]

    async def load(self) -> Record:
        return self.record

    async def save(self, record: Record) -> None:
        await asyncio.sleep(0)
        if self.fail_saves:
            raise self.fail_saves.pop(0)
        assert record.generation > self.record.generation, "a save without a new generation"
        self.saved.append(record)

    async def journal(self, line: dict[str, object]) -> None:
        self.lines.append(line)
        self.events.append(str(line["event"]))

    async def history(self) -> tuple[dict[str, object], ...]:
        return tuple(self.lines)

    async def others(self) -> tuple[Record, ...]:
        return self.neighbours

    def lock(self, *, timeout_seconds: float) -> AbstractAsyncContextManager[None]:
        return self._locked()

    @asynccontextmanager
    async def _locked(self) -> AsyncIterator[None]:
        if self._lock.locked() or self.locked_by is not None:
            raise RecordLocked("another run is at work", details={"pid": self.locked_by})
        async with self._lock:
            yield


class RecordingReporter:
    """Everything that was reported, in order."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.progress: list[tuple[str, int, int]] = []
        self.outcomes: list[StepOutcome] = []
        self.notes: list[tuple[str, str]] = []
        self.reports: list[Report] = []

    def step_started(self, row: Row) -> None:
        self.started.append(f"{row.action.value} {row.name}")

    def step_progress(self, row: Row, done: Bytes, total: Bytes, note: str = "") -> None:
        self.progress.append((row.name, done, total))

    def step_finished(self, outcome: StepOutcome) -> None:
        self.outcomes.append(outcome)

    def note(self, level: Literal["info", "warning"], message: str) -> None:
        self.notes.append((level, message))

    def finished(self, report: Report) -> None:
        self.reports.append(report)


class ScriptedWakeups:
    """Wake-ups that a test sends; ``send`` returns once the watcher has gone back to waiting."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Literal["changed", "tick", "stop"]] = asyncio.Queue()

    def __aiter__(self) -> AsyncIterator[Literal["changed", "tick", "stop"]]:
        return self._events()

    async def _events(self) -> AsyncIterator[Literal["changed", "tick", "stop"]]:
        while True:
            event = await self._queue.get()
            yield event
            if event == "stop":
                return

    def send(self, event: Literal["changed", "tick", "stop"]) -> None:
        self._queue.put_nowait(event)
