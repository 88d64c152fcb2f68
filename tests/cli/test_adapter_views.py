"""Adapters as a person reads them: rows of a plan, and what an apply did."""

from __future__ import annotations

import pytest

from reconciler.cli.views.difference import drift_lines
from reconciler.cli.views.explain_adapter import adapter_explanation_text
from reconciler.cli.views.plan import plan_markdown, plan_text
from reconciler.cli.views.report import change_words, outcome_line
from reconciler.domain.adapter import Adapter, AdapterServing, Gate, ServedAdapter
from reconciler.domain.plan import Action, Overrides, Plan
from reconciler.domain.report import StepOutcome
from reconciler.engine.explain_adapter import explain_adapter
from reconciler.engine.world import Planned
from tests.builders import record
from tests.cli.line import Line
from tests.planning.adapter_world import Told, digest, error, lora, ours, pin, planned, recorded, serves, there, verdict

STANDS = {"models": [there()], "served": [serves()], "mine": record(ours(), adapters=(recorded(),))}
SCALED = lora(serve=(AdapterServing(target="edge", name="sql", scale=0.5),))


@pytest.fixture(autouse=True)
def _no_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")


def two() -> Plan:
    adapters = (lora("notes"), lora("sql", on_base_change="follow"))
    says = {"notes": verdict("notes 1", error(), error("it is of rank 128, 64 at most is expected"))}
    return planned(*adapters, **{**STANDS, "served": []}, says=says).plan


@pytest.mark.parametrize(
    ("now", "told"),
    [
        (serves(scale=0.5), "served otherwise than recorded"),
        (serves(content="sql 2"), f"other content than recorded: {digest()[:12]}… → {digest('sql 2')[:12]}…"),
    ],
    ids=["scale", "content"],
)
def test_a_drift_is_told_for_what_it_is(now: ServedAdapter, told: str) -> None:
    drift = planned(lora(), **{**STANDS, "served": [now]}).plan.drift
    assert drift_lines(drift) == [f"drift: sql on edge: {told}"]


def gated() -> Adapter:
    return lora(gate=Gate(receipt="/r.json"))


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


WARNED = verdict().model_copy(
    update={
        "findings": (error("no base is named").model_copy(update={"severity": "warning", "hint": "train it anew"}),)
    }
)
MISSED = verdict("sql 2", unpromoted=(error("no receipt at /r.json"),), contract_id="sha256:12")


def explained(told: Told) -> str:
    return adapter_explanation_text(explain_adapter(Planned(told.want, told.known, told.seen, told.plan), "sql"))


@pytest.mark.parametrize(
    "told",
    [
        planned(lora(), **STANDS, says={"sql": WARNED}),
        planned(lora(), **{**STANDS, "served": []}, says={"sql": verdict("sql 1", error(), error("rank 128"))}),
        planned(gated(), **STANDS, says={"sql": MISSED}),
        planned(lora(absent=True)),
        planned(lora("chat"), **STANDS),
        planned(lora(), **{**STANDS, "mine": record(ours())}),
    ],
    ids=["in sync", "rejected", "unpromoted", "nowhere", "left the file", "somebody else's"],
)
def test_an_explanation(told: Told, snapshot: object) -> None:
    assert explained(told) == snapshot


FILE = """
localModels:
  pool: {allowedOrgs: [Qwen]}
  slots: [{name: coder, model: Qwen/Qwen3-8B-GGUF, quant: Q4_K_M}]
  targets: [{name: edge, runtime: llama-server, endpoint: "http://127.0.0.1:9", preset: models.ini}]
  adapters:
    - {name: sql, base: coder, source: {path: ./sql}, serve: [{target: edge}]}
"""


def test_explain_knows_the_adapters_of_the_file(line: Line) -> None:
    (line.folder / "localmodels.yaml").write_text(FILE)
    found = line("explain", "sql", "--offline", "--json").data
    assert found["adapter"]["name"] == "sql"
    assert [(place["target"], place["reason"]) for place in found["places"]] == [("edge", "target-unknown")]
    assert "target edge is unknown" in line("explain", "sql", "--offline").out
    assert line("explain", "adapter/sql", "--offline", "--json").data == found
    assert found["address"] == "adapter/sql"
    assert line("explain", "adapter/sql", "--offline").out == line("explain", "sql", "--offline").out
    assert line("explain", "adapter/sql", "--target", "edge", "--offline", "--json").data == found
    assert "memory" in line("explain", "Qwen/Qwen3-8B-GGUF:Q4_K_M", "--offline", "--hardware", "rtx-4090").out.lower()


@pytest.mark.parametrize(
    ("asked", "code", "said"),
    [
        (("adapter/sqk",), "unknown-adapter", "no adapter of the file is called sqk"),
        (("adapter/sql", "--target", "far"), "usage", "nothing of adapter/sql is on far"),
        (("adapter/sql", "--profile", "coding"), "usage", "--profile of an adapter says nothing"),
    ],
)
def test_explain_says_what_it_cannot_explain(line: Line, asked: tuple[str, ...], code: str, said: str) -> None:
    line.write(FILE)
    error = line("explain", *asked, "--offline", "--json").error
    assert (error["code"], error["message"]) == (code, said)
