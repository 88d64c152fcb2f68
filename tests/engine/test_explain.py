from __future__ import annotations

import json
from datetime import date

import pytest

from reconciler.cli.views.explain import explanation_text
from reconciler.domain.desired import Slot, Target
from reconciler.engine.explain import Request, explain
from reconciler.errors import UsageError
from tests.engine.machines import STORE, scene_on

QUANT = "Qwen/Qwen3-8B-GGUF:Q4_K_M"


def test_every_part_has_its_key_in_json() -> None:
    found = explain(scene_on("rtx-4090"), STORE, Request(name="Qwen/Qwen3-8B-GGUF:Q4_K_M"))
    document = json.loads(found.model_dump_json(by_alias=True))
    assert {"weightsBytes", "kvBytesPerToken", "totalBytes", "weightsBasis", "maxContext"} <= set(document["memory"])
    assert {"tokensPerSecond", "low", "high", "confidence", "bytesPerToken", "basis"} <= set(document["speed"])
    assert {"quantFactor", "multiplier", "covered", "inheritedFrom", "parts"} <= set(document["quality"])
    assert {"observedAt", "evidenceWeight", "share", "source"} <= set(document["quality"]["parts"][0])
    assert type(found).model_validate_json(found.model_dump_json(by_alias=True)) == found


def test_the_ladder_of_contexts_agrees_with_the_largest_that_fits() -> None:
    found = explain(scene_on("rtx-4060"), STORE, Request(name="Qwen/Qwen3-8B-GGUF:Q4_K_M", context=32_768))
    assert [rung.context for rung in found.contexts] == [4096, 8192, 16_384, 32_768, 40_960]
    most = found.memory.max_context
    assert most is not None
    for rung in found.contexts:
        assert rung.fits is (rung.context <= most)
        assert (rung.small_cache, (rung.small_cache_bytes or 0) < rung.memory_bytes) == ("q8_0", True)
        assert rung.small_cache_fits or not rung.fits
    memory = [rung.memory_bytes for rung in found.contexts]
    assert memory == sorted(memory)


def test_its_place_is_the_place_in_the_ranking() -> None:
    scene = scene_on("rtx-4090")
    places = {
        name: explain(scene, STORE, Request(name=name)).rank
        for name in ("Qwen/Qwen3-8B", "Qwen/Qwen3-14B", "Qwen/Qwen3-235B-A22B")
    }
    assert places["Qwen/Qwen3-235B-A22B"] is None
    assert (places["Qwen/Qwen3-14B"] or 0) < (places["Qwen/Qwen3-8B"] or 0)


def test_a_slot_of_the_file_brings_every_wish_of_its_own() -> None:
    slot = Slot(name="small", profile="coding", max_size=4 * 10**9, context=8192)
    scene = scene_on("rtx-4090", slots=(slot,))
    found = explain(scene, STORE, Request(name="Qwen/Qwen3-8B-GGUF:Q4_K_M", slot="small"))
    assert (found.slot, found.profile, found.context, found.reason) == ("small", "coding", 8192, "too-large")
    assert any(remedy.startswith("let the slot take it: maxSize: 5.") for remedy in found.remedies)
    with pytest.raises(UsageError, match="no slot is called big") as refused:
        explain(scene, STORE, Request(name="Qwen/Qwen3-8B", slot="big"))
    assert refused.value.hint == "there is small"


def test_the_longest_context_that_a_slot_asks_for_is_the_one_shown() -> None:
    scene = scene_on("rtx-4060", slots=(Slot(name="long", context="max"),))
    found = explain(scene, STORE, Request(name="Qwen/Qwen3-8B-GGUF:Q4_K_M", slot="long"))
    assert found.eligible
    assert found.context == found.memory.max_context
    assert found.context in {rung.context for rung in found.contexts}


@pytest.mark.parametrize("machine", ["rtx-4090", "cpu-8gb", "raspberry-pi-5-8gb", "2x rtx-3090"])
def test_the_parts_make_the_score(machine: str) -> None:
    found = explain(scene_on(machine), STORE, Request(name="Qwen/Qwen3-8B"))
    quality = found.quality
    assert found.score == pytest.approx(quality.score * quality.multiplier * found.speed_factor)
    shares = quality.covered * (quality.measured_score or 0) + (1 - quality.covered) * (quality.inherited_score or 0)
    assert quality.score == pytest.approx(min(100, shares * quality.quant_factor / quality.reference_quant_factor))
    memory = found.memory
    parts = memory.weights_bytes + memory.kv_bytes + memory.state_bytes + memory.compute_bytes + memory.overhead_bytes
    assert memory.total_bytes == parts + memory.split_bytes
    assert found.eligible
    assert found.score == explain(scene_on(machine), STORE, Request(name=found.repository + ":" + found.quant)).score


def test_the_smallest_cache_has_no_smaller_one() -> None:
    slots = tuple(Slot(name=kind, kv_cache=kind) for kind in ("f16", "q8_0", "q4_0"))
    scene = scene_on("rtx-4060", slots=slots)
    smaller = [explain(scene, STORE, Request(name=QUANT, slot=slot.name)).contexts[0] for slot in slots]
    assert [rung.small_cache for rung in smaller] == ["q8_0", "q4_0", None]
    assert smaller[0].small_cache_bytes == smaller[1].memory_bytes
    assert smaller[2].small_cache_bytes is None


def test_a_publishers_own_weights_are_explained_where_a_target_serves_them() -> None:
    target = Target(name="v", runtime="advisory", program="vllm")
    found = explain(scene_on("h100-80gb", target=target), target, Request(name="Qwen/Qwen3-8B"))
    assert (found.repository, found.eligible) == ("Qwen/Qwen3-8B", True)
    assert any(one.reason == "not-installable-here" for one in found.siblings)


def test_it_is_dated() -> None:
    found = explain(scene_on("rtx-4090"), STORE, Request(name="Qwen/Qwen3-8B"))
    assert date.fromisoformat(found.catalogue_date)


def test_the_alias_of_the_slot_is_told() -> None:
    scene = scene_on("rtx-4090", slots=(Slot(name="coding", profile="coding", alias="coder"),))
    found = explain(scene, STORE, Request(name=QUANT, slot="coding"))
    assert found.alias == "coder"
    assert "coder, the alias of slot coding" in explanation_text(found)
    assert explain(scene, STORE, Request(name=QUANT)).alias is None


def test_a_slot_that_is_named_for_a_model_is_told_from_one() -> None:
    scene = scene_on("rtx-4090", slots=(Slot(name="coder", profile="coding"),))
    with pytest.raises(UsageError, match="coder is a slot of the file, and no model") as refused:
        explain(scene, STORE, Request(name="coder"))
    assert "which coder" in (refused.value.hint or "")
