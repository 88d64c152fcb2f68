"""What ``watch`` tells a person, look after look."""

from __future__ import annotations

import pytest

from reconciler.cli.watching import WatchLines
from reconciler.domain.desired import DesiredState
from reconciler.engine.watch import Pass
from reconciler.engine.world import Planned
from tests.builders import record
from tests.cli.line import TODAY
from tests.planning.adapter_world import lora, planned, there


def looked(*warnings: str) -> Pass:
    made = planned(lora(), models=[there()])
    plan = made.plan.model_copy(update={"warnings": warnings})
    return Pass("interval", TODAY, False, planned=Planned(DesiredState(), record(), made.seen, plan))


def test_a_warning_is_told_once_until_it_changes(capsys: pytest.CaptureFixture[str]) -> None:
    lines = WatchLines()
    told = []
    for warnings in (("a",), ("a", "b"), ("a", "b"), (), ("a",)):
        lines.passed(looked(*warnings))
        told.append([one for one in capsys.readouterr().out.splitlines() if one.startswith("warning: ")])
    assert told == [["warning: a"], ["warning: b"], [], [], ["warning: a"]]


def test_what_is_noted_on_the_way_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    lines = WatchLines()
    for _ in range(2):
        lines.note("warning", "the card is not known")
    assert capsys.readouterr().err == "warning: the card is not known\n"
