from __future__ import annotations

from collections.abc import Callable

import pytest
from syrupy.assertion import SnapshotAssertion

from reconciler.cli.views.rebuild import rebuilt_text
from reconciler.domain.observation import Alias, Installed
from reconciler.domain.record import Record, RecordAlias
from reconciler.domain.units import Bytes
from reconciler.engine.ownership import disown
from reconciler.engine.rebuild import Rebuilt, rebuild
from reconciler.engine.reconcile import reconcile
from reconciler.engine.replay import replay
from reconciler.errors import RecordConflict, RecordError, RecordUnreadable, Unreachable, UsageError
from tests.builders import target
from tests.engine.worlds import ALPHA, BETA, DELTA, OPTIONS, Fakes, fakes, foreign, name_of, pin
from tests.fakes import FAKE_NOW, FakeRuntime, MemoryRecordStore


class LostRecordStore(MemoryRecordStore):
    """The record cannot be read until one is saved again; the journal is there."""

    def __init__(self, journal: list[dict[str, object]], name: str = "default") -> None:
        super().__init__(Record(name=name))
        self.lines = journal

    async def load(self) -> Record:
        if len(self.saved) == 1:
            raise RecordUnreadable("the record is not whole JSON; it is kept as record.json.bad-1")
        return await super().load()


async def yes(found: Rebuilt) -> bool:
    return True


async def no(found: Rebuilt) -> bool:
    return False


async def applied(*slots: tuple[str, str]) -> Fakes:
    here = fakes(*(pin(name, model) for name, model in slots))
    await reconcile(here.world, OPTIONS)
    return here


def lose(here: Fakes) -> Record:
    """The record becomes unreadable; what it was."""
    before = here.record
    here.store = LostRecordStore(here.store.lines, before.name)
    return before


async def test_a_lost_record_comes_back_as_it_was_and_the_next_plan_is_in_sync() -> None:
    here = await applied(("a", ALPHA), ("b", BETA))
    before = lose(here)
    with pytest.raises(RecordUnreadable):
        await reconcile(here.world, OPTIONS)
    calls = len(here.runtime().mutations)
    found = await rebuild(here.world, OPTIONS, agree=yes)
    assert found.saved
    assert {one.name for one in found.owned} == {name_of(ALPHA), name_of(BETA)}
    assert found.left_out == ()
    assert here.record.model_copy(update={"generation": before.generation}) == before
    assert here.record.generation > before.generation
    assert len(here.runtime().mutations) == calls
    assert (await reconcile(here.world, OPTIONS)).plan.in_sync


async def test_a_second_loss_is_rebuilt_from_what_the_first_wrote() -> None:
    here = await applied(("a", ALPHA))
    lose(here)
    await rebuild(here.world, OPTIONS, agree=yes)
    again = lose(here)
    await rebuild(here.world, OPTIONS, agree=yes)
    assert here.record.entries == again.entries


async def test_nobody_agreed_nothing_is_saved() -> None:
    here = await applied(("a", ALPHA))
    lose(here)
    lines = len(here.store.lines)
    found = await rebuild(here.world, OPTIONS, agree=no)
    assert not found.saved
    assert len(here.store.saved) == 1
    assert len(here.store.lines) == lines


async def test_a_record_that_is_whole_is_never_overwritten() -> None:
    here = await applied(("a", ALPHA))
    with pytest.raises(UsageError) as caught:
        await rebuild(here.world, OPTIONS, agree=yes)
    assert caught.value.code == "record-exists"


async def test_without_a_journal_there_is_nothing_to_go_by() -> None:
    here = fakes()
    with pytest.raises(RecordError, match="no journal"):
        await rebuild(here.world, OPTIONS, agree=yes)


async def test_another_file_s_record_is_not_taken_over() -> None:
    here = await applied(("a", ALPHA))
    lose(here)
    here.edit(pin("a", ALPHA), source="/home/someone/else.yaml")
    with pytest.raises(RecordConflict):
        await rebuild(here.world, OPTIONS, agree=yes)


def gone(runtime: FakeRuntime, name: str) -> None:
    del runtime.installed[name]


def changed(runtime: FakeRuntime, name: str) -> None:
    runtime.put(foreign(ALPHA, "other content"))


def touched(runtime: FakeRuntime, name: str) -> None:
    runtime.put(runtime.installed[name].model_copy(update={"stamp": "touched"}))


def only_read_tells(runtime: FakeRuntime, name: str) -> None:
    runtime.digests[name] = runtime.installed[name].digest or ""
    runtime.put(runtime.installed[name].model_copy(update={"stamp": "touched", "digest": None}))


def reads_otherwise(runtime: FakeRuntime, name: str) -> None:
    runtime.digests[name] = "e" * 64
    runtime.put(runtime.installed[name].model_copy(update={"stamp": "touched", "digest": None}))


def another_size(runtime: FakeRuntime, name: str) -> None:
    runtime.put(Installed(name=name, bytes=Bytes(7)))


def silent(runtime: FakeRuntime, name: str) -> None:
    runtime.unknown = "it does not answer"


@pytest.mark.parametrize(
    ("happened", "owned"),
    [
        (gone, False),
        (changed, False),
        (touched, True),
        (only_read_tells, True),
        (reads_otherwise, False),
        (another_size, False),
        (silent, True),
    ],
)
async def test_what_the_target_holds_decides(happened: Callable[[FakeRuntime, str], None], owned: bool) -> None:
    here = await applied(("a", ALPHA))
    lose(here)
    happened(here.runtime(), name_of(ALPHA))
    found = await rebuild(here.world, OPTIONS, agree=yes)
    assert [one.name for one in (found.owned if owned else found.left_out)] == [name_of(ALPHA)]
    assert here.owned() == ({name_of(ALPHA)} if owned else set())


async def test_a_target_that_left_the_file_keeps_its_entries() -> None:
    two = (target(), target("other", path="/other"))
    here = fakes(pin("a", ALPHA, target="other"), targets=two)
    await reconcile(here.world, OPTIONS)
    here.edit(targets=two[:1])
    lose(here)
    found = await rebuild(here.world, OPTIONS, agree=yes)
    assert [one.why for one in found.owned] == ["its target is not in the file: kept as it was"]


async def test_what_was_disowned_stays_disowned_and_foreign_models_stay_foreign() -> None:
    here = await applied(("a", ALPHA), ("b", BETA))
    here.runtime().put(foreign(DELTA))
    await disown(here.world, name_of(BETA), None, OPTIONS)
    lose(here)
    await rebuild(here.world, OPTIONS, agree=yes)
    assert here.owned() == {name_of(ALPHA)}


async def test_a_step_that_was_open_is_finished_by_the_next_apply() -> None:
    here = fakes(pin("a", ALPHA))
    here.runtime().fail_installs[name_of(ALPHA)] = [Unreachable("down") for _ in range(3)]
    here.runtime().partials[name_of(ALPHA)] = 5
    await reconcile(here.world, OPTIONS)
    lose(here)
    found = await rebuild(here.world, OPTIONS, agree=yes)
    assert [one.name for one in found.intents] == [name_of(ALPHA)]
    await reconcile(here.world, OPTIONS)
    assert here.owned() == {name_of(ALPHA)}
    assert here.record.intents == ()


async def test_a_stable_name_is_ours_again_where_it_stands_as_recorded() -> None:
    here = await applied(("a", ALPHA))
    record = here.record
    for name in ("same", "moved", "gone"):
        alias = RecordAlias(target_key=target().key, target_name="local", name=name, model="m", made_at=FAKE_NOW)
        record = record.with_alias(alias)
    whole = record.model_dump(mode="json", by_alias=True)
    here.store.lines.append({
        "event": "noted", "document": record.name, "source": record.source, "after": here.record.generation,
        "generation": record.generation, "whole": whole,
    })  # fmt: skip
    lose(here)
    here.runtime().aliases = {"same": Alias(name="same", model="m"), "moved": Alias(name="moved", model="n")}
    found = await rebuild(here.world, OPTIONS, agree=yes)
    assert [one.name for one in found.owned if one.kind == "alias"] == ["same"]
    assert {one.name: one.why for one in found.left_out} == {
        "gone": "gone: the target has no such name",
        "moved": "it stands for n, not for m",
    }
    assert [one.name for one in here.record.aliases] == ["same"]


async def test_as_a_person_reads_it(snapshot: SnapshotAssertion) -> None:
    here = await applied(("a", ALPHA), ("b", BETA))
    here.edit(pin("a", ALPHA), pin("b", BETA), pin("d", DELTA))
    here.runtime().fail_installs[name_of(DELTA)] = [Unreachable("down") for _ in range(3)]
    here.runtime().partials[name_of(DELTA)] = 5
    await reconcile(here.world, OPTIONS)
    lose(here)
    gone(here.runtime(), name_of(BETA))
    here.store.lines.append({"event": "adopted", "document": "other", "after": 1, "generation": 2})
    found = await rebuild(here.world, OPTIONS, agree=no)
    assert rebuilt_text(found) == snapshot


async def test_every_run_of_the_engine_is_replayed_as_it_was_saved() -> None:
    here = await applied(("a", ALPHA), ("b", BETA))
    here.edit(pin("b", BETA))
    await reconcile(here.world, OPTIONS)
    assert replay("default", here.store.lines).record == here.record
