"""What a person reads, from values that no ranking and no machine can change."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date

import pytest

from reconciler.cli.views import table
from reconciler.cli.views.catalog import catalogue_text
from reconciler.cli.views.explain import explanation_text
from reconciler.cli.views.plan import plan_markdown, plan_text
from reconciler.cli.views.report import report_text
from reconciler.cli.views.suggest import suggestions_text
from reconciler.domain.catalogue_description import describe
from reconciler.domain.estimate import EvidencePart, MemoryEstimate, QualityEstimate, SpeedEstimate
from reconciler.domain.plan import (
    Action,
    Budget,
    Fingerprint,
    Plan,
    Reason,
    Refusal,
    Row,
    RowEvidence,
    Standing,
    Summary,
)
from reconciler.domain.report import Report, StepOutcome
from reconciler.domain.units import GB, Bytes
from reconciler.engine.explain import CapabilityClaim, Explanation, Rung, Sibling
from reconciler.engine.suggest import PackagerOpening
from tests.builders import catalogue, hardware, model
from tests.cli.line import TODAY
from tests.cli.suggested import READING, ranking, suggestion

PRINT = Fingerprint(desired="d", record_generation=1, targets=(), hardware="h", policy="p")
EVIDENCE = RowEvidence(
    score=57.63, low=52.0, high=63.0, tokens_per_second=96.2, memory_bytes=Bytes(7 * GB), context=32768,
    capacity_bytes=Bytes(24 * GB),
)  # fmt: skip


def row(slot: str, action: Action, reason: Reason, model_id: str, **changes: object) -> Row:
    base = Row(
        address=f"slot/{slot}[0]", action=action, reason=reason, target="local", target_key="store|/models",
        name=f"{model_id}-GGUF/file.gguf", slots=(f"slot/{slot}[0]",), model_id=model_id, quant="Q4_K_M",
    )  # fmt: skip
    return base.model_copy(update=changes)


INSTALL = row("coder", Action.INSTALL, Reason.MISSING, "Qwen/Qwen3-8B", bytes_down=Bytes(9 * GB), evidence=EVIDENCE)
EVICT = row("old", Action.EVICT, Reason.REPLACED, "Qwen/Qwen2.5-7B", bytes_freed=Bytes(8 * GB), slots=())
UPDATE = row(
    "embed", Action.UPDATE, Reason.DRIFTED, "nomic-ai/embed", bytes_down=Bytes(2 * GB),
    before=Standing(name="n", digest="a" * 64, bytes=Bytes(1 * GB)),
    after=Standing(name="n", digest="b" * 64, bytes=Bytes(2 * GB)),
)  # fmt: skip
KEEP = row("chat", Action.KEEP, Reason.IN_SYNC, "google/gemma-3-4b")
HELD = row("chat", Action.KEEP, Reason.BELOW_THRESHOLD, "google/gemma-3-12b", message="2.1 points better, 5 asked")
BLOCKED = row(
    "big",
    Action.KEEP,
    Reason.NO_API,
    "zai-org/GLM",
    command="lms get 'zai-org/GLM@Q4_K_M'",
    message="lms is driven by hand",
)
UNFILLED = row("eyes", Action.KEEP, Reason.NOTHING_FITS, "", name="", message="nothing fits",
               evidence=RowEvidence(nearest="Qwen/Qwen3-VL-8B Q4_K_M: needs 30.0 GB at 8192 tokens"))  # fmt: skip
BUDGET = Budget(
    scope="host", limit_bytes=Bytes(120 * GB), used_bytes=Bytes(30 * GB), peak_bytes=Bytes(41 * GB),
    after_bytes=Bytes(33 * GB), free_disk_bytes=Bytes(500 * GB), min_free_bytes=Bytes(20 * GB), exact=False,
)  # fmt: skip


def plan(**parts: object) -> Plan:
    base = Plan(name="workstation", made_at=TODAY, fingerprint=PRINT, applicable=True)
    return base.model_copy(update=parts)


FULL = plan(
    changes=(INSTALL, UPDATE, EVICT),
    kept=(KEEP,),
    held=(HELD,),
    blocked=(BLOCKED,),
    unfilled=(UNFILLED,),
    budgets=(BUDGET,),
    refused=(Refusal(rule="maxEvictions", limit=0, value=1, message="1 model would be lost", hint="apply --allow-evictions 1"),),
    warnings=("keep: my-finetune:latest matches nothing",),
    summary=Summary(
        install=1, update=1, evict=1, kept=1, held=1, blocked=1, unfilled=1, bytes_down=Bytes(11 * GB),
        bytes_freed=Bytes(8 * GB),
    ),
)  # fmt: skip
IN_SYNC = plan(kept=(KEEP,), summary=Summary(kept=1))


@pytest.fixture(autouse=True)
def _no_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")


@pytest.mark.parametrize(
    "made",
    [FULL, IN_SYNC, plan(changes=(INSTALL.model_copy(update={"resolved": False}),), applicable=False,
                         summary=Summary(install=1, bytes_down=Bytes(9 * GB))), plan()],
    ids=["full", "in-sync", "not-resolved", "empty"],
)  # fmt: skip
def test_plan(made: Plan, snapshot: object) -> None:
    assert plan_text(made, source="localmodels.yaml") == snapshot


def test_plan_for_a_pull_request(snapshot: object) -> None:
    assert plan_markdown(FULL) == snapshot


def test_plan_for_a_pull_request_drops_whole_sections_when_long() -> None:
    many = tuple(INSTALL.model_copy(update={"message": "x" * 500}) for _ in range(200))
    text = plan_markdown(plan(changes=many, held=(HELD,)))
    assert len(text) < 61_000
    assert "Held back" in text
    assert "1 section(s) left out" in text


def test_markdown_is_not_broken_by_names() -> None:
    odd = INSTALL.model_copy(update={"model_id": "a|b<script>", "message": "two\nlines"})
    text = plan_markdown(plan(changes=(odd,)))
    assert "a\\|b&lt;script>" in text
    assert "two lines" in text


def test_report(snapshot: object) -> None:
    done = StepOutcome(row=INSTALL, status="done", seconds=75.0)
    failed = StepOutcome(row=UPDATE, status="failed", code="corrupt", message="wrong bytes", hint="apply again")
    report = Report(
        plan=FULL, outcomes=(done, failed), remaining=plan(changes=(UPDATE,), blocked=(BLOCKED,)), warnings=("w",)
    )
    assert report_text(report) == snapshot
    assert report_text(Report(plan=IN_SYNC, remaining=IN_SYNC, verified=True)) == "In sync: 1 kept."


def test_suggestions(snapshot: object) -> None:
    unfit = suggestion("zai-org/GLM", 0, eligible=False, reason="does-not-fit", message="needs 90.0 GB at 4096 tokens")
    closed = suggestion(
        "meta/L", 44, eligible=False, reason="publisher-not-allowed", message="meta is not in allowedOrgs"
    )
    found = ranking(
        suggestion("Qwen/Qwen3-8B", 57.6),
        suggestion("google/g", 40, packager="unsloth", exact=False, evidence="none", evidence_date=None),
        eligible=7,
        rejected=(closed, unfit),
        packagers=(PackagerOpening(name="bartowski", allowed=False, models=12, only_here=3),
                   PackagerOpening(name="ggml-org", allowed=True, models=9, only_here=0)),
    )  # fmt: skip
    assert suggestions_text(found) == snapshot
    assert suggestions_text(found.model_copy(update={"rows": (), "rejected": (), "eligible": 0})) == snapshot


def test_a_narrow_terminal_loses_columns_and_says_which(snapshot: object) -> None:
    measured = suggestion(
        "Qwen/Qwen3-8B", 57.6, speed_basis="measured", measured_at="2026-11-20", max_context=21_504, max_context_basis="memory",
        speed=5.6, tokens_per_second_low=5.4, tokens_per_second_high=5.7,
    )  # fmt: skip
    found = ranking(measured, suggestion("mistralai/Mistral-Small-3.2-24B-Instruct-2506", 40, max_context=None))
    texts = {width: suggestions_text(found, width=width) for width in (0, 120, 80, 40)}
    assert "\n\n".join(texts.values()) == snapshot
    for text in texts.values():
        assert "57.6" in text
        assert "context" in text
        assert "21k/40k" in text
    assert max(map(len, texts[120].splitlines())) <= 120


def rung(context: int, *, fits: bool) -> Rung:
    return Rung(context=context, memory_bytes=Bytes(context * 600_000), fits=fits, tokens_per_second=80.0,
                small_cache="q8_0", small_cache_bytes=Bytes(context * 500_000), small_cache_fits=True)  # fmt: skip


def explanation(**changes: object) -> Explanation:
    part = EvidencePart(
        benchmark="livebench_coding", source="livebench.ai", observed_at="2026-06-25", value=61.2, normalised=70.4,
        evidence="direct", evidence_weight=1.0, recency_weight=0.8, source_weight=0.9, weight=0.72,
    )  # fmt: skip
    sibling = Sibling(quant="Q8_0", repository="Qwen/Qwen3-8B-GGUF", bytes=Bytes(8 * GB), memory_bytes=Bytes(10 * GB),
                      score=48.0, tokens_per_second=50.0, eligible=False, reason="does-not-fit")  # fmt: skip
    base = Explanation(
        asked="qwen3:8b", model_id="Qwen/Qwen3-8B", repository="Qwen/Qwen3-8B-GGUF", quant="Q4_K_M",
        bytes=Bytes(5 * GB), exact=True, publisher="Qwen", license="apache-2.0", released="2025-04-28",
        params=8_190_000_000, active_params=None, context_length=40960, architecture="qwen3", line="general",
        capabilities=(CapabilityClaim(name="tools", sources=("xinference", "llmfit")),), ollama_tag="qwen3:8b",
        profile="coding", context=16384, target="local", policy="f", hardware=READING, capacity_bytes=Bytes(24 * GB),
        eligible=True, fits=True, reason=None, message="", remedies=(), score=57.63, low=52.1, high=63.0,
        memory=MemoryEstimate(weights_bytes=Bytes(5 * GB), kv_bytes=Bytes(2_415_919_104), kv_bytes_per_token=147_456.0,
                           state_bytes=Bytes(0), compute_bytes=Bytes(300_000_000), overhead_bytes=Bytes(500_000_000),
                           total_bytes=Bytes(8_215_919_104), basis="architecture", weights_basis="file",
                           max_context=40960),
        speed=SpeedEstimate(tokens_per_second=88.4, low=70.0, high=110.0, confidence="high", offloaded=0.0,
                         bytes_per_token=Bytes(5 * GB), effective_bandwidth_gbps=800.0, backend="cuda",
                         basis="estimated", prefill_tokens_per_second=2400.0, first_token_seconds=6.8,
                         prefill_confidence="medium"),
        quality=QualityEstimate(score=60.8, low=52.0, high=70.0, evidence="direct", confidence="medium",
                             quant_factor=0.985, multiplier=0.948, parts=(part,), covered=0.6, measured_score=70.4,
                             inherited_score=48.5, inherited_from=("Qwen/Qwen3-14B",), reference_quant_factor=0.99),
        speed_factor=1.0, rank=4, ranked=130, contexts=(rung(4096, fits=True), rung(40960, fits=False)),
        siblings=(sibling, sibling.model_copy(update={"quant": "Q4_K_M", "eligible": True, "reason": None})),
        catalogue_date="2026-11-22", catalogue_origin="bundled",
    )  # fmt: skip
    return base.model_copy(update=changes)


def test_explanation(snapshot: object) -> None:
    assert explanation_text(explanation()) == snapshot


@pytest.mark.parametrize("prompt", ["measured", "estimated", "short"])
@pytest.mark.parametrize("accelerated", [True, False], ids=["card", "processor"])
def test_a_measured_speed_says_of_its_prompt_what_it_rests_on(prompt: str, accelerated: bool) -> None:
    speed = replace(
        explanation().speed, basis="measured", measured_at="2026-11-20", doubtful=not accelerated,
        prefill_basis="estimated" if prompt == "estimated" else "measured",
        first_token_seconds=None if prompt == "short" else 6.8,
    )  # fmt: skip
    machine = READING if accelerated else READING.model_copy(update={"hardware": hardware(vram_gib=0)})
    text = explanation_text(explanation(speed=speed, hardware=machine))
    doubt = "" if accelerated else " once, or while other work ran"
    assert f"high confidence, measured here 2026-11-20{doubt}\n" in text
    least, most = ("at least ", "at most ") if accelerated else ("", "")
    expected = {
        "measured": (rf"prompt +{least}2400 +tokens/s read, medium confidence, measured here",
                     rf"first token +{most}6.8 s +after a prompt of half the context, by that"),
        "estimated": (r"prompt +2400 +tokens/s read, medium confidence, estimated",
                      r"first token +6.8 s +after a prompt of half the context, estimated"),
        "short": (r"prompt +2400 +tokens/s read of a short one, medium confidence, measured here",),
    }  # fmt: skip
    for line in expected[prompt]:
        assert re.search(rf"^ +{line}$", text, re.MULTILINE), text


def test_a_doubtful_measurement_is_marked_apart() -> None:
    sure = suggestion("acme/sure", 50.0, speed_basis="measured", measured_at="2026-11-20")
    once = sure.model_copy(update={"model_id": "acme/once", "speed_doubtful": True})
    both, only = suggestions_text(ranking(sure, once)), suggestions_text(ranking(once))
    assert re.search(r"sure .* ✓ ", both)
    assert re.search(r"once .* ✓\? ", both)
    assert "  ✓ measured on this machine\n  ✓? measured on this machine once, or while other work ran\n" in both
    assert "✓ " not in only


def test_explanation_of_a_rejected_one(snapshot: object) -> None:
    rejected = explanation(
        eligible=False, fits=False, reason="does-not-fit", message="needs 30.0 GB at 32768 tokens, 24.0 GB usable",
        score=0.0, low=0.0, high=0.0,
        remedies=("it fits at 16384 tokens, not at 32768", "Q4_K_M of Qwen/Qwen3-8B-GGUF is eligible"),
        quality=replace(explanation().quality, parts=(), covered=0.0, measured_score=None, inherited_score=60.8),
        siblings=(), contexts=(), rank=None,
    )  # fmt: skip
    assert explanation_text(rejected) == snapshot


def test_catalogue(snapshot: object) -> None:
    known = catalogue(model("acme/alpha-7b"), model("acme/beta-7b"), scores={"acme/alpha-7b": 60.0})
    assert catalogue_text(describe(known, date(2026, 11, 22)), added=1) == snapshot


def test_columns_align_and_end_at_the_last_word() -> None:
    assert table.columns([["a", "1"], ["long", "22"], ["b"]], right=frozenset({1})) == [
        "  a      1",
        "  long  22",
        "  b",
    ]
    assert table.columns([]) == []
