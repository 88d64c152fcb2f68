"""What must hold of ``context: max`` for any model and machine."""

from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.domain.catalog import Architecture, Attention, CatalogModel
from reconciler.domain.desired import Slot
from reconciler.domain.estimate import KvCache, Requirement
from reconciler.domain.hardware import Hardware
from reconciler.domain.observation import Observation
from reconciler.domain.record import Record
from reconciler.domain.units import GIB
from reconciler.integrations.files.desired_file import read_desired
from reconciler.planning.make_plan import make_plan
from reconciler.ranking.candidates import candidates
from reconciler.ranking.numbers import CONTEXT_STEP, assess, assess_longest
from reconciler.ranking.quality import EvidenceIndex
from tests.builders import NOW, catalogue, desired, hardware, model, observation

FAST = settings(max_examples=100, deadline=None)
GIBIBYTES = st.floats(2, 200, allow_nan=False)


@st.composite
def models(draw: st.DrawFn) -> CatalogModel:
    """Of every kind of cache: full, windowed, by layer, unknown; with and without a context of its own."""
    windowed = st.builds(Attention, st.just("swa"), window=st.sampled_from([512, 4096]), global_every=st.integers(2, 6))
    architecture = Architecture(
        name=draw(st.sampled_from(["llama", "gemma3", "qwen3"])),
        layers=draw(st.integers(1, 90)),
        hidden=4096,
        heads=32,
        kv_heads=draw(st.sampled_from([1, 4, 8, 32])),
        head_dim=draw(st.sampled_from([64, 128])),
        vocab=draw(st.sampled_from([None, 150_000])),
        attention=draw(st.none() | windowed),
    )
    known = draw(st.booleans() | st.just(value=True))
    one = model(size_gb=draw(st.floats(0.5, 60)), params=draw(st.integers(10**8, 10**11)))
    return replace(
        one,
        architecture=architecture if known else Architecture(name=None),
        context_length=draw(st.none() | st.integers(512, 2_000_000)),
    )


CACHES: st.SearchStrategy[KvCache] = st.sampled_from(["f16", "q8_0", "q4_0"])
FLOORS = st.builds(
    Requirement, context=st.sampled_from([512, 4096]), kv_cache=CACHES, parallel=st.sampled_from([1, 1, 4])
)


def machine_of(gibibytes: float, devices: int = 1) -> Hardware:
    """Accelerators of one kind; without memory a plain processor."""
    machine = hardware(vram_gib=gibibytes)
    return machine.model_copy(update={"devices": machine.devices * devices})


def longest(one: CatalogModel, least: Requirement, machine: Hardware) -> tuple[int, bool]:
    known = catalogue(one)
    (candidate,) = candidates(known)
    evidence = EvidenceIndex.of(known, NOW.date())
    context, assessment = assess_longest(candidate, least, machine, evidence, NOW.date())
    again = assess(candidate, replace(least, context=context), machine, evidence, NOW.date())
    assert assessment == again, "the numbers are those of any slot that names this context"
    return context, assessment.fits


@FAST
@given(models(), FLOORS, GIBIBYTES | st.just(0), st.integers(1, 4))
def test_it_fits_and_is_never_less_than_the_least(
    one: CatalogModel, least: Requirement, gibibytes: float, devices: int
) -> None:
    machine = machine_of(gibibytes, devices)
    context, fits = longest(one, least, machine)
    assert context >= least.context
    assert fits or context == least.context
    own = one.context_length
    assert context in (least.context, own) or (context % CONTEXT_STEP == 0 and own is not None and context < own)
    if fits and own is not None and context < own:
        longer = min(own, (context // CONTEXT_STEP + 1) * CONTEXT_STEP)
        assert longest(one, replace(least, context=longer), machine) == (longer, False), "not a step more"


@FAST
@given(models(), FLOORS, GIBIBYTES, GIBIBYTES, st.integers(1, 4))
def test_more_memory_never_means_less_context(
    one: CatalogModel, least: Requirement, a: float, b: float, devices: int
) -> None:
    small, large = (longest(one, least, machine_of(size, devices)) for size in sorted((a, b)))
    assert small <= large


@FAST
@given(models(), FLOORS, GIBIBYTES)
def test_a_smaller_cache_never_means_less_context(one: CatalogModel, least: Requirement, gibibytes: float) -> None:
    machine = hardware(vram_gib=gibibytes)
    found = [longest(one, replace(least, kv_cache=cache), machine) for cache in ("f16", "q8_0", "q4_0")]
    assert found == sorted(found)


@FAST
@given(models(), GIBIBYTES, st.integers(0, 64 * GIB), st.integers(0, 64 * GIB))
def test_what_is_free_now_changes_nothing(one: CatalogModel, gibibytes: float, vram: int, ram: int) -> None:
    def seen(free_vram: int | None, free_ram: int | None) -> Observation:
        machine = hardware(vram_gib=gibibytes)
        device = machine.devices[0].model_copy(update={"free_bytes": free_vram})
        now = machine.model_copy(update={"devices": (device,), "ram_free_bytes": free_ram})
        base = observation(catalogue(one, scores={one.id: 50}))
        return base.model_copy(update={"hardware": base.hardware.model_copy(update={"hardware": now})})

    want = desired(Slot(name="a", context="max"))
    first, second = (
        make_plan(want, one_time, Record(name="default")) for one_time in (seen(None, None), seen(vram, ram))
    )
    assert [row.evidence for row in first.changes] == [row.evidence for row in second.changes]


KEYS = ("name: chat", "context: max", "kvCache: q8_0", "parallel: 2", "profile: coding", "count: 2", "maxSize: 20GB")


@FAST
@given(st.lists(st.sampled_from(KEYS[1:]), unique=True), st.integers(0, 2**16))
def test_the_order_of_keys_is_irrelevant(keys: list[str], seed: int) -> None:
    def read(entries: list[str]) -> tuple[Slot, ...]:
        text = f"localModels: {{slots: [{{{', '.join(entries)}}}]}}"
        return read_desired(text, source="/srv/localmodels.yaml", environment={}).slots

    entries = [KEYS[0], *keys]
    assert read(entries) == read(random.Random(seed).sample(entries, len(entries)))
