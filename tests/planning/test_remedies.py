"""What is told to change a verdict really changes it."""

from __future__ import annotations

import re
from typing import get_args

import pytest

from reconciler.domain.desired import Pool, Slot
from reconciler.domain.units import parse_size
from reconciler.engine.explain import Explanation, Request, explain
from reconciler.planning.option import RejectionReason
from reconciler.planning.remedies import REMEDIES
from reconciler.planning.trust import PolicyReason
from tests.engine.machines import STORE, scene_on

CLOSED = Pool(allowed_orgs=("google",), packagers=())
QWEN = "Qwen/Qwen3-8B-GGUF:Q8_0"


def asked(machine: str, name: str, *, pool: Pool | None = None, **wishes: object) -> Explanation:
    slot = Slot(name="s").model_copy(update=wishes)
    return explain(scene_on(machine, pool=pool, slots=(slot,)), STORE, Request(name=name, slot="s"))


def test_every_rejection_has_a_line_in_the_table_of_remedies() -> None:
    reasons = {*get_args(PolicyReason), *get_args(RejectionReason)} - {PolicyReason}
    assert set(REMEDIES) == reasons


def test_fits_at_one_context_and_not_at_the_other() -> None:
    found = asked("rtx-4060", "Qwen/Qwen3-8B-GGUF:Q4_K_M", context=40_960)
    told = re.match(r"it fits at (\d+) tokens, not at 40960: that needs ([\d.]+ GB) more", found.remedies[0])
    assert told is not None
    most = int(told[1])
    assert asked("rtx-4060", "Qwen/Qwen3-8B-GGUF:Q4_K_M", context=most).eligible
    assert not asked("rtx-4060", "Qwen/Qwen3-8B-GGUF:Q4_K_M", context=most + 2048).eligible
    missing = found.memory.total_bytes - found.capacity_bytes
    assert abs(parse_size(told[2]) - missing) < 10**8


def test_a_smaller_cache_is_told_where_it_is_enough() -> None:
    found = asked("rtx-4060", "Qwen/Qwen3-8B-GGUF:Q4_K_M", context=32_768)
    assert any("kvCache: q8_0" in remedy for remedy in found.remedies)
    assert asked("rtx-4060", "Qwen/Qwen3-8B-GGUF:Q4_K_M", context=32_768, kv_cache="q8_0").eligible
    hopeless = asked("raspberry-pi-5-8gb", "Qwen/Qwen3-32B-GGUF:Q8_0")
    assert not any("kvCache" in remedy for remedy in hopeless.remedies)
    assert "here it fits at no context" in hopeless.remedies[0]


def test_another_quant_is_told_with_what_it_needs() -> None:
    found = asked("rtx-4060", QWEN, context=8192)
    told = next(remedy for remedy in found.remedies if "is eligible" in remedy)
    quant, repository = re.findall(r"^(\S+) of (\S+) is eligible", told)[0]
    assert asked("rtx-4060", f"{repository}:{quant}", context=8192).eligible


@pytest.mark.parametrize(
    ("wishes", "reason", "told", "then"),
    [
        ({"max_size": 5 * 10**9}, "too-large", "maxSize: 8.8GB", {"max_size": 8_800_000_000}),
        ({"capabilities": ("tools", "teleport")}, "capability-unknown", "take teleport out", {"capabilities": ("tools",)}),
        ({"quants": ("Q4_K_M",)}, "quant-not-accepted", "quants: [Q8_0]", {"quants": ("Q4_K_M", "Q8_0")}),
        ({"context": 1_000_000}, "context-too-long", "ask for at most 40960 tokens", {"context": 40_960}),
        ({"profile": "embedding"}, "wrong-line", "ask with --profile general", {"profile": "general"}),
    ],
)  # fmt: skip
def test_what_the_slot_asks(wishes: dict[str, object], reason: str, told: str, then: dict[str, object]) -> None:
    found = asked("rtx-4090", QWEN, **wishes)
    assert found.reason == reason
    assert told in found.remedies[0]
    assert asked("rtx-4090", QWEN, **{**wishes, **then}).eligible


def test_a_speed_that_would_do_is_told() -> None:
    found = asked("rtx-4090", QWEN, min_tokens_per_second=10_000.0)
    assert found.reason == "too-slow"
    most = float(found.remedies[0].rpartition(" ")[2])
    assert asked("rtx-4090", QWEN, min_tokens_per_second=most).eligible


def test_every_obstacle_of_the_policy_is_told_in_order() -> None:
    pool = Pool(
        allowed_orgs=("google",), packagers=(), allowed_families=("gemma",), allowed_licenses=("mit",), never=("*8B*",)
    )
    found = asked("rtx-4060", "unsloth/Qwen3-8B-GGUF:Q4_K_M", pool=pool, context=40_960)
    start = [
        "allow its publisher: localmodels pool allow-org Qwen",
        "and add unsloth to pool.packagers: it packages these files",
        "and allow its family: localmodels pool allow-family qwen3",
        "and add apache-2.0 to pool.allowedLicenses",
        "and take '*8B*' out of pool.never",
    ]
    assert list(found.remedies[:5]) == start
    assert found.remedies[5].startswith("and it fits at ")
    allowed = Pool(allowed_orgs=("Qwen",), packagers=("unsloth",), allowed_families=("qwen3",))
    most = re.findall(r"\d+", found.remedies[5])[0]
    assert asked("rtx-4060", "unsloth/Qwen3-8B-GGUF:Q4_K_M", pool=allowed, context=int(most)).eligible


def test_files_beyond_the_whole_budget_are_told_with_the_budget_that_would_do() -> None:
    pool = scene_on("rtx-4090").desired.pool.model_copy(update={"disk_budget": 5 * 10**9})
    found = asked("rtx-4090", QWEN, pool=pool)
    assert found.eligible
    assert found.over_budget == "would not fit the disk budget: 8.7 GB of 5.0 GB"
    assert found.remedies == ("raise the disk budget: localmodels pool set-budget 9GB",)
    assert asked("rtx-4090", QWEN).over_budget == ""


def test_one_context_is_told_that_works() -> None:
    found = asked("rtx-4060", "Qwen/Qwen3-8B-GGUF:Q4_K_M", context=1_000_000)
    told = re.match(r"ask for at most (\d+) tokens: its own context ends at 40960", found.remedies[0])
    assert told is not None
    assert asked("rtx-4060", "Qwen/Qwen3-8B-GGUF:Q4_K_M", context=int(told[1])).eligible
    assert not any("and it fits at" in remedy for remedy in found.remedies)
