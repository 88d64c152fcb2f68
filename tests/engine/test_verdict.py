from __future__ import annotations

from typing import Literal

import pytest

from reconciler.domain.plan import Action, Fingerprint, Plan, Reason, Refusal, Row
from reconciler.domain.report import Report, StepOutcome
from reconciler.engine.verdict import exit_code_of_plan, exit_code_of_report
from tests.fakes import FAKE_NOW

Status = Literal["done", "failed", "skipped", "interrupted"]


def row(reason: Reason = Reason.MISSING) -> Row:
    return Row(address="slot/a[0]", action=Action.INSTALL, reason=reason, target="t", target_key="k", name="m")


def plan(**parts: object) -> Plan:
    base = Plan(
        name="default",
        made_at=FAKE_NOW,
        fingerprint=Fingerprint(desired="", record_generation=0, targets=(), hardware="", policy=""),
        applicable=True,
    )
    return base.model_copy(update=parts)


def report(*steps: tuple[Status, str | None], left: Plan | None = None) -> Report:
    outcomes = tuple(StepOutcome(row=row(), status=status, code=code) for status, code in steps)
    return Report(plan=plan(), outcomes=outcomes, remaining=left)


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (report(), 0),
        (report(("done", None)), 0),
        (report(("failed", "refused")), 1),
        (report(("done", None), ("failed", "refused")), 3),
        (report(("done", None), ("interrupted", "interrupted")), 3),
        (report(("done", None), ("skipped", "in-use")), 0),
        (report(("skipped", "backing-off")), 0),
        (report(("done", None), ("skipped", "replacement-failed")), 3),
        (report(("done", None), left=plan(blocked=(row(Reason.NO_ROOM),))), 4),
        (report(left=plan(unfilled=(row(Reason.NOTHING_FITS),))), 4),
        (report(left=plan(blocked=(row(Reason.TARGET_UNKNOWN),))), 1),
        (report(("done", None), left=plan(blocked=(row(Reason.TARGET_UNKNOWN),))), 3),
        (report(left=plan(held=(row(),), deferred=(row(),))), 0),
    ],
)
def test_a_report_comes_to_one_exit_code(found: Report, code: int) -> None:
    assert exit_code_of_report(found) == code


def test_a_plan_says_pending_only_when_asked() -> None:
    pending = plan(changes=(row(),))
    assert exit_code_of_plan(pending, detailed=False) == 0
    assert exit_code_of_plan(pending, detailed=True) == 2
    assert exit_code_of_plan(plan(), detailed=True) == 0
    refused = Refusal(rule="fuses.maxEvictions", limit=1, value=2, message="too many")
    assert exit_code_of_plan(plan(changes=(row(),), refused=(refused,)), detailed=True) == 4


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (plan(blocked=(row(Reason.NO_ROOM),)), 4),
        (plan(unfilled=(row(Reason.NOTHING_FITS),)), 4),
        (plan(changes=(row(),), unfilled=(row(Reason.NOTHING_FITS),)), 2),
        (plan(held=(row(),), deferred=(row(),)), 0),
    ],
)
def test_a_plan_that_cannot_meet_everything_is_noticed(found: Plan, code: int) -> None:
    assert exit_code_of_plan(found, detailed=True) == code
    assert exit_code_of_plan(found, detailed=False) == 0
