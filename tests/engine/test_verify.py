"""The second look: success is what it sees, and not what a target says."""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.domain.observation import Installed
from reconciler.domain.plan import Row
from reconciler.engine.reconcile import reconcile
from reconciler.engine.verdict import exit_code_of_report
from reconciler.ports import Progress
from tests.builders import target
from tests.engine.worlds import ALPHA, OPTIONS, fakes, name_of, pin
from tests.fakes import FakeRuntime


@dataclass
class Boasting(FakeRuntime):
    """Says that it installed, and holds nothing."""

    boasts: bool = True

    async def install(self, row: Row, progress: Progress) -> Installed:
        found = await super().install(row, progress)
        if self.boasts:
            del self.installed[found.name]
        return found


async def test_an_install_that_only_the_target_saw_is_a_failure_and_is_done_by_the_next_run() -> None:
    here = fakes(pin("a", ALPHA))
    runtime = here.runtimes[target().key] = Boasting(target())
    report = await reconcile(here.world, OPTIONS)
    (outcome,) = report.outcomes
    assert (outcome.status, outcome.code) == ("failed", "not-installed")
    assert not report.verified
    assert exit_code_of_report(report) == 3, "bytes came, and the step failed"
    runtime.boasts = False
    assert (await reconcile(here.world, OPTIONS)).verified
    assert here.owned() == {name_of(ALPHA)}
