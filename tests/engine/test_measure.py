"""What is measured, what is left alone and why, and that nothing else changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest

from reconciler.domain.desired import HardwareOverride, Target
from reconciler.domain.measurement import machine_key
from reconciler.domain.observation import Installed
from reconciler.domain.units import GB, GIB, Bytes
from reconciler.engine.measure import MeasureReport, measure
from reconciler.engine.reconcile import plan_once, reconcile
from reconciler.engine.saved_plan import apply_saved, parse, saved, text_of
from reconciler.errors import RecordError, Refused, Unreachable, UsageError
from reconciler.planning.measuring import MeasureQuestion
from tests.builders import entry, hardware, model, record, target
from tests.engine.worlds import ALPHA, BETA, OPTIONS, Fakes, art, desired, fakes, foreign, name_of, pin
from tests.fakes import MemoryRecordStore
from tests.measurements import FakeMeter, MemoryMeasurementStore, measured


@dataclass
class Lab:
    """A machine with installed models, a meter per target and a store of measurements."""

    here: Fakes
    kept: MemoryMeasurementStore = field(default_factory=MemoryMeasurementStore)
    meters: dict[str, FakeMeter] = field(default_factory=dict)

    def meter(self, of: Target) -> FakeMeter:
        return self.meters.setdefault(of.name, FakeMeter(of))

    @property
    def machine(self) -> str:
        return machine_key(self.here.probe.hardware)

    async def run(self, **question: object) -> MeasureReport:
        world = replace(self.here.world, measurements=self.kept)
        return await measure(world, self.meter, MeasureQuestion(**question))  # type: ignore[arg-type]


def lab(*installed: Installed, **changes: object) -> Lab:
    here = fakes(**changes)
    for one in installed:
        here.runtime().put(one)
    return Lab(here)


def only(found: MeasureReport) -> tuple[str, str]:
    (row,) = found.rows
    return row.state, row.reason


async def test_an_installed_model_is_measured_and_kept_with_its_conditions() -> None:
    here = lab(foreign(ALPHA))
    (row,) = (await here.run()).rows
    assert (row.state, row.model_id, row.name) == ("measured", ALPHA, name_of(ALPHA))
    (kept,) = here.kept.kept
    assert row.measurement == kept
    assert (kept.decode_tokens_per_second, kept.slowest, kept.fastest, kept.runs) == (45.0, 40.0, 50.0, 3)
    assert (kept.machine, kept.runtime, kept.repository, kept.quant) == (
        here.machine, "llama-server", f"{ALPHA}-GGUF", "Q4_K_M",
    )  # fmt: skip
    assert (kept.context, kept.weights_bytes, kept.prompt_tokens) == (4096, foreign(ALPHA).bytes, 130)
    assert kept.measured_at == here.here.clock.now()
    assert row.expected is not None
    assert row.expected.low < row.expected.tokens_per_second < row.expected.high


async def test_nothing_but_the_measurement_changes() -> None:
    here = lab(foreign(ALPHA))
    await here.run()
    assert here.here.runtime().mutations == []
    assert len(here.here.store.saved) == 1
    assert here.here.store.lines == []
    assert here.meters["local"].closed == 1
    assert here.here.runtime().closed == 1


async def test_a_dry_run_says_what_would_happen_and_loads_nothing() -> None:
    here = lab(foreign(ALPHA), foreign(BETA))
    here.meters["local"] = FakeMeter(target(), obstacles={name_of(BETA): "it is in use"})
    found = await here.run(dry_run=True)
    assert {(row.model_id, row.state, row.reason) for row in found.rows} == {
        (ALPHA, "planned", ""), (BETA, "skipped", "it is in use"),
    }  # fmt: skip
    assert here.meters["local"].trials == []
    assert here.kept.kept == ()


async def test_what_cannot_be_loaded_is_never_tried() -> None:
    here = lab(foreign(ALPHA, bytes=Bytes(400 * GB)))
    state, reason = only(await here.run())
    assert state == "skipped"
    assert reason.startswith("it cannot be loaded: 400.")
    assert here.meter(target()).trials == []


async def test_the_meter_is_told_what_would_lie_in_the_hosts_memory() -> None:
    here = lab(foreign(ALPHA))
    await here.run(dry_run=True)
    (on_cpu,) = here.meter(target()).ram.values()
    assert on_cpu > foreign(ALPHA).bytes
    here.here.probe.hardware = hardware()
    await here.run(dry_run=True)
    assert list(here.meter(target()).ram.values()) == [0]


async def test_a_model_that_writes_no_text_is_never_tried() -> None:
    here = lab(foreign(ALPHA))
    here.here.catalog.catalogue = replace(here.here.catalog.catalogue, models=(model(ALPHA, line="embedding"),))
    assert only(await here.run()) == ("skipped", "it writes no text: there is no speed to tell")


async def test_a_cloud_entry_is_no_model_of_this_machine() -> None:
    assert (await lab(foreign(ALPHA, remote=True)).run()).rows == ()


async def test_a_target_on_another_machine_is_not_measured_here() -> None:
    override = HardwareOverride(platform="nvidia", vram_bytes=Bytes(24 * GIB))
    far = target("far", path="/far", is_local=False, hardware=override)
    here = Lab(fakes(targets=[far]))
    here.here.runtimes[far.key].put(foreign(ALPHA))
    state, reason = only(await here.run())
    assert (state, "another machine" in reason) == ("skipped", True)


async def test_a_target_that_does_not_answer_failed_and_the_others_go_on() -> None:
    good, bad = target("good", path="/good"), target("bad", path="/bad")
    here = Lab(fakes(targets=[bad, good]))
    here.here.runtimes[bad.key].unknown = "nobody is there"
    here.here.runtimes[good.key].put(foreign(ALPHA))
    found = await here.run()
    assert [(row.target, row.state) for row in found.rows] == [("bad", "failed"), ("good", "measured")]
    assert found.rows[0].reason == "nobody is there"


async def test_one_that_fails_does_not_stop_the_next() -> None:
    here = lab(foreign(ALPHA), foreign(BETA))
    failure = Unreachable("not done", code="timed-out", hint="give it longer")
    here.meters["local"] = FakeMeter(target(), failures={name_of(ALPHA): failure})
    found = await here.run()
    (row,) = found.of("failed")
    assert (row.model_id, row.code, row.hint) == (ALPHA, "timed-out", "give it longer")
    assert [row.model_id for row in found.of("measured")] == [BETA]


async def test_what_turns_out_to_have_no_speed_is_no_failure() -> None:
    here = lab(foreign(ALPHA))
    refusal = Refused("it does not support generate", code="not-measurable")
    here.meters["local"] = FakeMeter(target(), failures={name_of(ALPHA): refusal})
    assert only(await here.run()) == ("skipped", "it does not support generate")


async def test_other_work_on_the_machine_is_told() -> None:
    here = lab(foreign(ALPHA))
    here.meters["local"] = FakeMeter(target(), other_load=0.75)
    (row,) = (await here.run()).rows
    assert row.notes == ("other work took 75% of the processors: measure again when the machine is quiet",)
    here.meters["local"].other_load = 0.1
    assert (await here.run()).rows[0].notes == ()


async def test_each_result_is_kept_at_once_so_that_a_stop_loses_only_the_last() -> None:
    here = lab(foreign(ALPHA), foreign(BETA))
    meter = here.meters["local"] = FakeMeter(target(), hangs_on=name_of(BETA))
    running = asyncio.create_task(here.run())
    while len(meter.trials) < 2:
        await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert len(here.kept.kept) == 1
    assert meter.closed == 1


@pytest.mark.parametrize(
    ("globs", "expected"),
    [
        ((), {ALPHA, BETA}), (("*alpha*",), {ALPHA}), ((ALPHA,), {ALPHA}), ((ALPHA.upper() + "-gguf",), {ALPHA}),
        (("acme/*",), {ALPHA, BETA}), (("*alpha*", "*beta*"), {ALPHA, BETA}),
    ],
)  # fmt: skip
async def test_models_are_chosen_by_any_of_their_names(globs: tuple[str, ...], expected: set[str]) -> None:
    found = await lab(foreign(ALPHA), foreign(BETA)).run(models=globs)
    assert {row.model_id for row in found.rows} == expected


async def test_a_name_that_nothing_has_is_wrong_usage_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="nothing that is installed is called") as raised:
        await lab(foreign(ALPHA)).run(models=("acme/alpha-1b-GUFG/alpha",))
    assert raised.value.code == "unknown-model"
    with pytest.raises(UsageError, match="no target is called nowhere"):
        await lab().run(target="nowhere")


async def test_what_fills_a_slot_comes_first_and_with_its_context() -> None:
    here = lab(foreign(BETA), foreign(ALPHA))
    here.here.edit(pin("chat", BETA, context=16_384))
    mine = entry(art(BETA), "slot/chat[0]", model_id=BETA)
    here.here.store = MemoryRecordStore(record(mine))
    found = await here.run()
    assert [(row.model_id, row.context) for row in found.rows] == [(BETA, 16_384), (ALPHA, 4096)]
    assert [row.context for row in (await here.run(context=2048)).rows] == [2048, 2048]


async def test_a_slot_that_asks_for_the_most_is_measured_with_what_the_plan_says_it_gets() -> None:
    here = lab(foreign(BETA))
    here.here.probe.hardware = hardware(vram_gib=8)
    here.here.edit(pin("chat", BETA, context="max"))
    mine = entry(art(BETA), "slot/chat[0]", model_id=BETA)
    here.here.store = MemoryRecordStore(record(mine))
    (row,) = (await here.run()).rows
    planned = (await plan_once(replace(here.here.world, measurements=here.kept), OPTIONS)).plan
    (kept,) = planned.kept
    assert kept.evidence is not None
    assert row.context == kept.evidence.context == here.meter(target()).trials[0][1].context
    assert row.context > 4096
    assert [one.context for one in (await here.run(context=2048)).rows] == [2048], "what is typed goes before"


async def test_that_nothing_can_be_kept_is_found_before_anything_is_loaded() -> None:
    class Unwritable(MemoryMeasurementStore):
        @asynccontextmanager
        async def measuring(self, *, timeout_seconds: float) -> AsyncIterator[None]:
            raise RecordError("cannot keep what was measured", hint="free some space")
            yield

    here = lab(foreign(ALPHA))
    here.kept = Unwritable()
    with pytest.raises(RecordError, match="cannot keep"):
        await here.run()
    assert here.meter(target()).trials == []
    assert [row.state for row in (await here.run(dry_run=True)).rows] == ["planned"], "which keeps nothing"


async def test_what_nobody_measured_comes_before_what_was() -> None:
    here = lab(foreign(ALPHA), foreign(BETA))
    here.kept = MemoryMeasurementStore(measured(machine=here.machine, name=name_of(ALPHA)))
    assert [row.model_id for row in (await here.run()).rows] == [BETA, ALPHA]


async def test_the_time_for_all_is_an_end() -> None:
    here = lab(foreign(ALPHA), foreign(BETA))

    class Slow(FakeMeter):
        async def measure(self, model, trial):  # type: ignore[no-untyped-def]
            here.here.clock.forward(trial.max_seconds)
            return await super().measure(model, trial)

    meter = here.meters["local"] = Slow(target())
    found = await here.run(max_seconds=60.0, total_seconds=45.0)
    assert [trial.max_seconds for _, trial in meter.trials] == [45.0]
    assert [(row.state, row.hint) for row in found.rows[1:]] == [("skipped", "give it longer with --total-time")]


async def test_a_model_the_catalogue_does_not_know_is_measured_by_its_repository() -> None:
    here = lab(foreign("somebody/unknown-3b"))
    (row,) = (await here.run()).rows
    assert (row.state, row.model_id, row.expected) == ("measured", "somebody/unknown-3b-GGUF", None)
    assert here.kept.kept[0].repository == "somebody/unknown-3b-GGUF"


async def test_the_file_may_describe_another_machine_and_this_one_is_measured() -> None:
    here = lab(foreign(ALPHA), hardware=HardwareOverride(platform="nvidia", vram_bytes=Bytes(24 * GIB)))
    found = await here.run()
    assert found.machine == here.machine
    assert any("hardware.override" in note for note in found.notes)
    planned = await plan_once(replace(here.here.world, measurements=here.kept), OPTIONS)
    assert planned.observation.measurements == ()


# What a measurement changes elsewhere.


async def test_every_look_carries_what_was_measured_here() -> None:
    here = lab(foreign(ALPHA))
    here.kept = MemoryMeasurementStore(
        measured(machine=here.machine), measured(machine="another"), notes=("something about it",)
    )
    planned = await plan_once(replace(here.here.world, measurements=here.kept), OPTIONS)
    assert [one.machine for one in planned.observation.measurements] == [here.machine]
    assert "something about it" in planned.observation.warnings


async def test_a_saved_plan_stays_what_it_is_whatever_is_measured_afterwards() -> None:
    here = lab(foreign(ALPHA))
    here.here.edit(pin("b", BETA))
    here.kept = MemoryMeasurementStore(measured(machine=here.machine))
    world = replace(here.here.world, measurements=here.kept)
    plan = parse(text_of(saved(await plan_once(world, OPTIONS))))
    assert plan.observation.measurements == here.kept.kept
    await here.run()
    assert len(here.kept.kept) == 2
    assert (await apply_saved(world, plan, OPTIONS)).verified


async def test_measuring_alone_changes_no_plan() -> None:
    """The picks stand: a speed that is known better moves a score, and the threshold and approval guard a swap."""
    here = fakes(pin("one", ALPHA))
    here.source.desired = desired(here.source.desired.slots[0].model_copy(update={"model": None, "quant": None}))
    await reconcile(here.world, OPTIONS)
    owned = here.owned()
    assert owned == {name_of(BETA)}, "the best"
    found = Lab(here)
    for speed in (0.5, 5.0, 500.0):
        found.meters["local"] = FakeMeter(target(), speeds=(speed,))
        assert (await found.run()).of("measured")
        planned = await plan_once(replace(here.world, measurements=found.kept), OPTIONS)
        assert planned.plan.changes == ()
    assert here.owned() == owned
