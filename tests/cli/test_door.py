"""What others wrote, in every view of an adapter and in errors: no colour of theirs, no line of theirs."""

from __future__ import annotations

import inspect as source_of
import pkgutil
from collections.abc import Callable
from importlib import import_module

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.cli import views
from reconciler.cli.outcome import error_text
from reconciler.cli.views.door import tame, view
from reconciler.cli.views.explain_adapter import adapter_explanation_text
from reconciler.cli.views.plan import plan_markdown, plan_text
from reconciler.cli.views.report import change_words, outcome_line, report_text
from reconciler.domain.finding import Finding
from reconciler.domain.plan import Plan
from reconciler.domain.report import Report, StepOutcome
from reconciler.engine.explain_adapter import explain_adapter
from reconciler.engine.world import Planned
from reconciler.errors import ReconcilerError
from tests.cli.line import Line
from tests.planning.adapter_world import Told, lora, planned, there, verdict

HOSTILE = st.text(st.sampled_from("a\n\r\x1b[31m\x07\x9b\u202e\u2028;"), max_size=12)


def told(text: str) -> Told:
    found = Finding(code="base_mismatch", severity="error", message=f"it is of {text}", hint=f"not {text}")
    says = {"sql": verdict("sql 1", found).model_copy(update={"base_model": text})}
    return planned(lora(), models=[there()], says=says)


def shown_of(made: Told) -> list[str]:
    """Every view of an adapter."""
    plan: Plan = made.plan
    rows = [*plan.changes, *plan.blocked]
    outcomes = tuple(
        StepOutcome(row=row, status="failed", seconds=0, code="x", message=row.message, hint=row.hint) for row in rows
    )
    report = Report(plan=plan, outcomes=outcomes)
    seen = Planned(made.want, made.known, made.seen, plan)
    return [
        plan_text(plan), plan_markdown(plan), report_text(report), *map(outcome_line, outcomes),
        *map(change_words, rows), adapter_explanation_text(explain_adapter(seen, "sql", None)),
    ]  # fmt: skip


@given(text=HOSTILE)
def test_no_view_of_an_adapter_obeys_a_foreign_text(text: str) -> None:
    plain = [one.count("\n") for one in shown_of(told("plain"))]
    for shown, lines in zip(shown_of(told(f"x{text}")), plain, strict=True):
        assert shown.count("\n") == lines == len(shown.splitlines()) - 1
        assert all(letter.isprintable() for letter in shown.replace("\n", ""))
    error = error_text(ReconcilerError(f"x{text}", hint=f"y{text}"))
    assert error.count("\n") == 1
    assert all(letter.isprintable() for letter in error.replace("\n", ""))


@given(text=st.text())
def test_what_is_tame_stays_as_it_is(text: str) -> None:
    @view
    def of(subject: tuple[dict[str, str], ...]) -> str:
        return subject[0]["key"]

    assert of(({"key": text},)).isprintable()
    once = tame([text, {"a": (text,)}])
    assert tame(once) is once


def test_every_view_has_the_door() -> None:
    missing = [
        f"{module.name}.{name}"
        for module in pkgutil.iter_modules(views.__path__)
        for name, found in vars(import_module(f"reconciler.cli.views.{module.name}")).items()
        if name.endswith(("_text", "_markdown", "_line")) and _is_view(found, module.name)
    ]
    assert missing == []


def _is_view(found: Callable[..., object], module: str) -> bool:
    is_own = source_of.isfunction(found) and found.__module__ == f"reconciler.cli.views.{module}"
    return is_own and not found.__name__.startswith("_") and not hasattr(found, "__wrapped__")


@pytest.mark.parametrize("words", ["plan", "inspect adapter"])
def test_a_base_that_is_typed_is_no_line_of_its_own(line: Line, words: str) -> None:
    answer = line("lora", *words.split(), "--base", "a/b\x1b[31m\nc")
    assert answer.code == 64
    assert "\x1b" not in answer.err
    assert answer.err.startswith("error: ")
    assert not any(one.startswith("c") for one in answer.err.splitlines())
