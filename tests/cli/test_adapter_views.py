"""Adapters as a person reads them: rows of a plan, and what an apply did."""

from __future__ import annotations

import pytest

from reconciler.cli.views.plan import plan_markdown, plan_text
from reconciler.cli.views.report import change_words, outcome_line
from reconciler.domain.adapter import AdapterServing
from reconciler.domain.plan import Action, Overrides, Plan
from reconciler.domain.report import StepOutcome
from tests.builders import record
from tests.planning.adapter_world import error, lora, ours, pin, planned, recorded, serves, there, verdict

STANDS = {"models": [there()], "served": [serves()], "mine": record(ours(), adapters=(recorded(),))}
SCALED = lora(serve=(AdapterServing(target="edge", name="sql", scale=0.5),))


@pytest.fixture(autouse=True)
def _no_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")


def two() -> Plan:
    adapters = (lora("notes"), lora("sql", on_base_change="follow"))
    says = {"notes": verdict("notes 1", error(), error("it is of rank 128, 64 at most is expected"))}
    return planned(*adapters, **{**STANDS, "served": []}, says=says).plan


PLANS = {
    "attach": planned(SCALED).plan,
    "in sync": planned(lora(), **STANDS).plan,
    "detach": planned(**STANDS).plan,
    "scale": planned(SCALED, **STANDS).plan,
    "rejected and drifted": two(),
    "held": planned(
        lora(), slots=(pin().model_copy(update={"model": None, "quant": None}),), **STANDS,
        scores={"alpha": 60, "beta": 90}, overrides=Overrides(accept=("coder",)),
    ).plan,
    "by hand": planned(lora(), models=[there()], mine=record(ours()), look_changes={"takes_adapters": None}).plan,
}  # fmt: skip


@pytest.mark.parametrize("made", PLANS.values(), ids=PLANS.keys())
def test_a_plan_with_adapters(made: Plan, snapshot: object) -> None:
    assert plan_text(made) == snapshot


def test_a_plan_with_adapters_for_a_pull_request(snapshot: object) -> None:
    assert plan_markdown(PLANS["rejected and drifted"]) == snapshot


def outcome(row: object, status: str = "done", **more: object) -> StepOutcome:
    return StepOutcome(row=row, status=status, seconds=0, **more)  # type: ignore[arg-type]


def test_what_was_done() -> None:
    attach, update, detach = (PLANS[name].changes[-1] for name in ("attach", "scale", "detach"))
    base = "acme/alpha-1b-GGUF:Q4_K_M"
    assert outcome_line(outcome(attach)) == f"attached adapter sql to {base} on edge"
    assert outcome_line(outcome(update)) == f"updated adapter sql to {base} on edge"
    assert outcome_line(outcome(detach)) == f"detached adapter sql from {base} on edge"
    assert change_words(detach) == f"detach adapter sql from {base}"
    failed = outcome(attach, "failed", code="adapter-refused", message="the server said no", hint="look at its log")
    assert (
        outcome_line(failed)
        == f"failed: attach adapter sql to {base} on edge: the server said no\n  hint: look at its log"
    )
    gone = detach.model_copy(update={"action": Action.FORGET})
    assert outcome_line(outcome(gone)) == "forgot adapter sql on edge"
