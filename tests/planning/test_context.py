"""``context: max``, the type of the cache and the number of conversations: what a slot asks of memory."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.domain.catalog import Architecture, CatalogModel
from reconciler.domain.desired import Slot
from reconciler.domain.hardware import HardwareReading
from reconciler.domain.observation import Observation, ObservedTarget
from reconciler.domain.plan import Plan, Reason, Row
from reconciler.domain.record import Record
from reconciler.planning.make_plan import make_plan
from tests.builders import (
    after,
    answered,
    artifact,
    catalogue,
    desired,
    entry,
    hardware,
    installed,
    model,
    observation,
    observed,
    record,
    target,
)

NAME = "acme/coyote-8b-instruct"
FILES = artifact(f"{NAME}-GGUF")


def longest(**changes: object) -> Slot:
    return Slot(name="chat", context="max").model_copy(update=changes)


def world(one: CatalogModel, *, vram_gib: float = 24, there: bool = True, score: float = 60) -> Observation:
    where = observed(installed(FILES)) if there else observed()
    machine = HardwareReading(hardware=hardware(vram_gib=vram_gib))
    return observation(catalogue(one, scores={one.id: score}), where, hardware=machine)


def plan_of(slot: Slot, seen: Observation, known: Record | None = None, **changes: object) -> Plan:
    ours = known if known is not None else record(entry(FILES, "slot/chat[0]", model_id=NAME))
    return make_plan(desired(slot, **changes), seen, ours)


def kept(plan: Plan) -> Row:
    assert not plan.changes, plan.changes
    (row,) = plan.kept
    return row


def test_max_is_what_fits_the_machine() -> None:
    row = kept(plan_of(longest(), world(model(NAME, context=1_000_000))))
    context = row.evidence.context
    assert context is not None
    assert context % 1024 == 0
    assert 100_000 < context < 200_000, "8 GiB of 24 are weights and buffers, 128 KiB each token"
    assert row.evidence.memory_bytes is not None
    assert row.evidence.capacity_bytes is not None
    assert row.evidence.memory_bytes <= row.evidence.capacity_bytes
    assert row.evidence.notes == (f"{context:,} tokens fit of the model's 1,000,000",)


def test_max_is_not_more_than_the_model_has() -> None:
    row = kept(plan_of(longest(), world(model(NAME, context=40_000))))
    assert row.evidence.context == 40_000, "its own end, whatever the step"
    assert row.evidence.notes == ("40,000 tokens fit, all that the model has",)


def test_one_more_step_would_not_fit() -> None:
    row = kept(plan_of(longest(), world(model(NAME, context=1_000_000))))
    assert row.evidence.context is not None
    for tokens, fits in ((row.evidence.context, True), (row.evidence.context + 1024, False)):
        plan = plan_of(Slot(name="chat", context=tokens), world(model(NAME, context=1_000_000), there=False), record())
        assert bool(plan.needs) is fits


def test_max_is_the_default_where_nobody_knows_what_the_model_has() -> None:
    unknown = replace(model(NAME), context_length=None)
    row = kept(plan_of(longest(), world(unknown)))
    assert row.evidence.context == 4096
    assert row.evidence.notes == ("nobody knows the model's own context, so 4,096 tokens are planned",)


def test_a_number_that_nobody_knows_the_model_to_take_is_said_to_be_a_guess() -> None:
    unknown = replace(model(NAME), context_length=None)
    row = kept(plan_of(Slot(name="chat", context=16_384), world(unknown)))
    assert row.evidence.notes == ("nobody knows the model's own context, 16,384 tokens may be too many",)
    assert kept(plan_of(Slot(name="chat"), world(unknown))).evidence.notes == ()


def test_max_by_weights_alone_says_so() -> None:
    rough = replace(model(NAME, context=1_000_000), architecture=Architecture(name=None))
    (note,) = kept(plan_of(longest(), world(rough))).evidence.notes
    assert note.endswith("judged by its weights alone: its dimensions are not known")


def test_a_model_of_a_short_context_is_taken_with_that() -> None:
    row = kept(plan_of(longest(), world(model(NAME, context=2048))))
    assert row.evidence.context == 2048


def test_what_does_not_fit_at_the_default_is_rejected_as_ever() -> None:
    seen = world(model(NAME, params=40_000_000_000, size_gb=23, context=1_000_000), vram_gib=22, there=False)
    (asked,) = plan_of(longest(), seen, record()).unfilled
    (default,) = plan_of(Slot(name="chat"), seen, record()).unfilled
    assert asked.reason is Reason.NOTHING_FITS
    assert asked.evidence.nearest == default.evidence.nearest
    assert "at 4096 tokens" in (asked.evidence.nearest or "")


def test_too_slow_at_the_longest_context_names_it() -> None:
    slot = longest(min_tokens_per_second=10_000.0)
    (row,) = plan_of(slot, world(model(NAME, context=40_000), there=False), record()).unfilled
    assert "tokens a second at 40000 tokens of context, 10000 asked" in (row.evidence.nearest or "")


def test_another_machine_changes_the_context_and_installs_nothing() -> None:
    one = model(NAME, context=1_000_000)
    small, large = (kept(plan_of(longest(), world(one, vram_gib=size))) for size in (12, 24))
    assert small.evidence.context is not None
    assert large.evidence.context is not None
    assert small.evidence.context < large.evidence.context
    assert (small.reason, large.reason) == (Reason.IN_SYNC, Reason.IN_SYNC)


def test_a_few_megabytes_rarely_matter_and_free_memory_never() -> None:
    one = model(NAME, context=1_000_000)
    before = kept(plan_of(longest(), world(one)))
    machine = hardware()
    device = machine.devices[0].model_copy(update={"free_bytes": 2**30})
    busy = machine.model_copy(update={"devices": (device,), "ram_free_bytes": 2**30})
    seen = world(one).model_copy(update={"hardware": HardwareReading(hardware=busy)})
    assert kept(plan_of(longest(), seen)).evidence == before.evidence


def test_a_pin_may_ask_for_max() -> None:
    seen = world(model(NAME, context=1_000_000))
    pinned = longest(model=f"{NAME}-GGUF", quant="Q4_K_M")
    row = kept(plan_of(pinned, answered(plan_of(pinned, seen), seen)))
    assert row.evidence.context == kept(plan_of(longest(), seen)).evidence.context


def test_a_plan_with_max_that_was_applied_is_in_sync() -> None:
    want, seen, known = desired(longest()), world(model(NAME, context=1_000_000), there=False), record()
    seen = answered(make_plan(want, seen, known), seen)
    first = make_plan(want, seen, known)
    second = make_plan(want, *after(first, seen, known))
    assert second.in_sync
    assert first.changes[0].evidence.context == second.kept[0].evidence.context


@pytest.mark.parametrize(("cache", "factor"), [("q8_0", 34 / 64), ("q4_0", 18 / 64)])
def test_a_smaller_cache_lets_more_fit(cache: str, factor: float) -> None:
    seen = world(model(NAME, context=1_000_000))
    full = kept(plan_of(longest(), seen)).evidence
    row = kept(plan_of(longest(kv_cache=cache), seen))
    assert full.context is not None
    assert row.evidence.context is not None
    assert 0.9 < row.evidence.context * factor / full.context < 1.1
    assert row.evidence.kv_cache == cache
    assert f"if it is served with a {cache} cache" in row.evidence.notes


def test_conversations_share_the_memory() -> None:
    seen = world(model(NAME, context=1_000_000))
    one, four = (kept(plan_of(longest(parallel=count), seen)).evidence for count in (1, 4))
    assert one.context is not None
    assert four.context is not None
    assert 0.8 < 4 * four.context / one.context < 1.1
    assert (one.parallel, four.parallel) == (None, 4)
    assert "if it is served with 4 conversations at once" in four.notes


def test_slots_that_share_a_model_are_told_apart() -> None:
    seen = world(model(NAME, context=40_000))
    ours = record(entry(FILES, "slot/chat[0]", "slot/twin[0]", "slot/less[0]", model_id=NAME))
    others = (Slot(name="agent", context=8192, kv_cache="q8_0"), longest(name="twin"), Slot(name="less"))
    row = kept(make_plan(desired(longest(), *others), seen, ours))
    assert row.evidence.context == 40_000
    assert row.evidence.notes == (
        "40,000 tokens fit, all that the model has",
        "for slot/agent[0] 8,192 tokens with a q8_0 cache",
    )


def test_the_command_of_a_target_driven_by_hand_has_it_all() -> None:
    where = target("hand", path=None, runtime="advisory", program="llama-server")
    seen = world(model(NAME, context=40_000)).model_copy(
        update={"targets": (ObservedTarget(name="hand", key=where.key),)}
    )
    (row,) = plan_of(longest(kv_cache="q8_0", parallel=2), seen, record(), targets=(where,)).blocked
    assert row.command == f"llama-server -hf {NAME}-GGUF:Q4_K_M -c 80000 -np 2 -ctk q8_0 -ctv q8_0"


def served(
    slot: Slot, *, tokens: int | None, own: int | None = None, vram_gib: float = 24, most: int = 40_000
) -> tuple[str, ...]:
    """The findings about context on an Ollama that has the model."""
    where = target("local", path=None, runtime="ollama", endpoint="http://127.0.0.1:11434")
    name = f"hf.co/{NAME}-GGUF:Q4_K_M"
    there = observed(installed(FILES, name=name, model_context=own), key=where.key)
    seen = world(model(NAME, context=most), vram_gib=vram_gib).model_copy(
        update={"targets": (there.model_copy(update={"served_context": tokens}),)}
    )
    ours = record(entry(FILES, "slot/chat[0]", model_id=NAME, target_key=where.key, name=name))
    plan = plan_of(slot, seen, ours, targets=(where,))
    return tuple(warning for warning in plan.warnings if "serves" in warning)


def test_a_target_that_serves_less_than_asked_is_a_finding_that_says_what_to_set() -> None:
    (short,) = served(Slot(name="chat", context=16_384), tokens=8192)
    assert short == (
        "slot/chat[0]: local serves 8192 tokens, the slot asks 16384: start the server with OLLAMA_CONTEXT_LENGTH=16384"
    )
    (most,) = served(longest(), tokens=8192)
    assert most.endswith("the slot asks max, here 40000: start the server with OLLAMA_CONTEXT_LENGTH=40000")
    (own,) = served(Slot(name="chat", context=16_384), tokens=32_768, own=2048)
    assert own.endswith("OLLAMA_CONTEXT_LENGTH=16384, unless the model was made with num_ctx 2048")


def test_a_target_that_serves_enough_is_no_finding() -> None:
    assert served(Slot(name="chat", context=16_384), tokens=16_384) == ()
    assert served(Slot(name="chat"), tokens=2048) == (), "the slot asks for no context"
    assert served(Slot(name="chat", context=16_384), tokens=None) == (), "32768 by its memory of 24 GiB"


def test_an_ollama_that_serves_more_than_fits_is_a_finding() -> None:
    (most,) = served(Slot(name="chat"), tokens=131_072, vram_gib=8, most=131_072)
    assert most.startswith("slot/chat[0]: local serves 131072 tokens, and ")
    number = int(most.rpartition("=")[2])
    assert 4096 < number < 32_768
    assert number % 1024 == 0
    assert served(Slot(name="chat"), tokens=131_072, vram_gib=8, most=8192) == (), (
        "it serves no more than the model has"
    )
    assert served(Slot(name="chat"), tokens=131_072, vram_gib=24, most=131_072) == (), "it fits"
