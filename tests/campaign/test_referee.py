"""That the campaign's rules bite: a defect planted on purpose is seen by them. A rule that sees nothing proves nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from reconciler.domain.desired import DesiredState, Target
from reconciler.domain.observation import Alias, Installed
from reconciler.domain.plan import Row
from reconciler.domain.record import Record
from reconciler.domain.units import Bytes
from reconciler.engine.world import World
from reconciler.integrations.record_store import FileRecordStore
from reconciler.ports import Progress, Runtime
from tests.campaign.adapter_places import PLACES
from tests.campaign.adapters import AdapterTrial
from tests.campaign.cuts import endure, undisturbed
from tests.campaign.lab import Forks, Trouble
from tests.campaign.life import Life
from tests.campaign.power import Power, PoweredRecords, PoweredRuntime
from tests.campaign.real_world import Machine
from tests.campaign.scenarios import SCENARIOS
from tests.fakes import FakeRuntime


@dataclass
class Planted(PoweredRuntime):
    """A runtime with a defect; ``inner`` is as it should be."""

    power: Power = field(default_factory=Power)

    @property
    def fake(self) -> FakeRuntime:
        inner: Runtime = self.inner
        while isinstance(inner, PoweredRuntime):
            inner = inner.inner
        assert isinstance(inner, FakeRuntime)
        return inner


class EvictsFirst(Planted):
    async def install(self, row: Row, progress: Progress) -> Installed:
        for name in [name for name in self.fake.installed if name != row.name]:
            del self.fake.installed[name]
        return await super().install(row, progress)


class RemovesTooMuch(Planted):
    async def remove(self, name: str) -> Bytes:
        freed = await super().remove(name)
        self.fake.installed.clear()
        return freed


class TakesTwice(Planted):
    async def install(self, row: Row, progress: Progress) -> Installed:
        self.fake.partials["a second copy"] = 3 * (row.artifact.bytes if row.artifact else 0)
        try:
            return await super().install(row, progress)
        finally:
            del self.fake.partials["a second copy"]


class NamesTooEarly(Planted):
    async def name(self, alias: str, model: str, *, context: int | None) -> Alias:
        self.fake.aliases[alias] = Alias(name=alias, model=None)
        return await super().name(alias, model, context=context)


@dataclass
class ForgetsWhatWasBegun(PoweredRecords):
    """A step leaves no trace until it is done."""

    power: Power = field(default_factory=Power)

    async def save(self, record: Record) -> None:
        await super().save(record.model_copy(update={"intents": ()}))


@dataclass
class KeepsWhatWasBegun(PoweredRecords):
    """What was begun stays begun for ever."""

    power: Power = field(default_factory=Power)
    begun: tuple[object, ...] = ()

    async def save(self, record: Record) -> None:
        self.begun = record.intents or self.begun
        await super().save(record.model_copy(update={"intents": self.begun}))


Plant = Callable[[World], World]


def runtime(kind: type[Planted]) -> Plant:
    return lambda world: replace(world, runtime=lambda desired, target: kind(world.runtime(desired, target)))


def records(kind: type[PoweredRecords]) -> Plant:
    return lambda world: replace(world, records=lambda desired: kind(world.records(desired)))  # type: ignore[call-arg]


DEFECTS = {
    "evicts before it installs": (runtime(EvictsFirst), "swap", "was removed before"),
    "removes what is not ours": (runtime(RemovesTooMuch), "evict", "somebody else's model is gone"),
    "takes more than the budget": (runtime(TakesTwice), "swap", "than the budget allows"),
    "a name that stands for nothing": (runtime(NamesTooEarly), "swap under a name", "stands for nothing"),
    "ownership is lost in a crash": (records(ForgetsWhatWasBegun), "install", "elsewhere than undisturbed"),
    "a step is never closed": (records(KeepsWhatWasBegun), "evict", "open for ever"),
}


@pytest.mark.parametrize(("plant", "name", "seen"), DEFECTS.values(), ids=DEFECTS)
async def test_a_planted_defect_is_seen(plant: Plant, name: str, seen: str) -> None:
    instants, expected = await undisturbed(name)
    sound = SCENARIOS[name]
    broken = replace(sound, command=lambda world: sound.command(plant(world)))

    async def cut_everywhere() -> None:
        for cut in range(instants):
            await endure(broken, (cut,), expected)

    with pytest.raises(AssertionError, match=seen):
        await cut_everywhere()


async def test_where_nothing_is_planted_nothing_is_seen() -> None:
    instants, expected = await undisturbed("swap under a name")
    assert {(alias, ours) for _, alias, _, ours in expected.aliases} == {("chat", True)}
    await endure(SCENARIOS["swap under a name"], (instants // 2,), expected)


class ForgetfulRecords(FileRecordStore):
    """Drops an entry whenever it saves."""

    async def save(self, record: Record) -> None:
        await super().save(record.model_copy(update={"entries": record.entries[1:]}))


class ForgetfulMachine(Machine):
    def records(self, desired: DesiredState) -> FileRecordStore:
        return ForgetfulRecords(self.root / "state", desired.name, self.clock)


class ForgetfulLife(Life):
    def made(self) -> Machine:
        places = [Target(name=name, runtime="store", path=str(self.root / name)) for name in self.targets]
        return ForgetfulMachine(self.root, tuple(places))


def test_a_life_with_a_defect_does_not_go_well() -> None:
    with pytest.raises(AssertionError, match="Failing test case"):
        run_state_machine_as_test(
            ForgetfulLife,
            settings=settings(
                max_examples=60, stateful_step_count=12, deadline=None, derandomize=True, database=None,
                phases=(Phase.generate,), suppress_health_check=list(HealthCheck),
            ),
        )  # fmt: skip


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AdapterTrial]:
    """An adapter gets another content, on the real program."""
    folder, forks = tmp_path_factory.mktemp("adapters"), Forks()
    with PLACES["vllm"](folder / "place") as place:
        yield AdapterTrial(folder / "lab", forks, place, "update")
    forks.close()


PLANTED = {
    "names_half_files": ("half files have their name", 0, 1, 1),
    "releases_what_is_served": ("neither old nor new is served", 0, 1, 1),
    "records_before_the_server_was_asked": ("the record says what is not so", 0, 1, 1),
    "attaches_before_it_is_written_down": ("the record says what is not so", 0.45, 0.95, 7),
}
"""Defect of ``planted.py`` → what the referee says, and at which deaths it is tried: between which parts of the way from
the last copied block to the end, and at every how manieth instant."""


@pytest.mark.e2e
@pytest.mark.parametrize("plant", PLANTED)
def test_a_defect_of_the_real_program_s_adapters_is_seen(plant: str, trial: AdapterTrial) -> None:
    words, begin, end, stride = PLANTED[plant]
    last, left = trial.end.copies[-1], trial.end.instants - trial.end.copies[-1]
    trial.lab.more["plant"] = plant

    def die_everywhere() -> None:
        for at in range(last + int(begin * left), last + int(end * left), stride):
            trial.survive(Trouble(at))

    with pytest.raises(AssertionError, match=words):
        die_everywhere()
