"""A swap that the ranking wants waits for a person, and runs when that person accepts it."""

from __future__ import annotations

import pytest

from reconciler.domain.desired import Slot
from reconciler.domain.plan import Overrides, Reason
from reconciler.engine.reconcile import reconcile
from reconciler.engine.world import Options
from reconciler.errors import UsageError
from tests.engine.worlds import ALPHA, BETA, OPTIONS, Fakes, fakes, models, name_of

CHAT = Slot(name="chat")


async def outranked() -> Fakes:
    """BETA fills the slot; then ALPHA becomes far better."""
    here = fakes(CHAT)
    await reconcile(here.world, OPTIONS)
    assert here.owned() == {name_of(BETA)}
    here.catalog.catalogue = models(alpha=99.0)
    return here


async def test_without_a_word_the_incumbent_stays() -> None:
    here = await outranked()
    report = await reconcile(here.world, OPTIONS)
    assert not report.outcomes
    assert [row.reason for row in report.plan.held] == [Reason.APPROVAL_NEEDED]
    assert here.owned() == {name_of(BETA)}


@pytest.mark.parametrize("word", ["chat", "slot/chat[0]"])
async def test_accepted_it_makes_before_it_breaks(word: str) -> None:
    here = await outranked()
    report = await reconcile(here.world, Options(overrides=Overrides(accept=(word,))))
    assert [(one.row.action.value, one.row.name, one.status) for one in report.outcomes] == [
        ("install", name_of(ALPHA), "done"),
        ("evict", name_of(BETA), "done"),
    ]
    assert report.verified
    assert here.owned() == {name_of(ALPHA)}


async def test_a_slot_that_does_not_exist_is_told_before_anything_happens() -> None:
    here = await outranked()
    with pytest.raises(UsageError) as error:
        await reconcile(here.world, Options(overrides=Overrides(accept=("chatt",))))
    assert "chat" in (error.value.hint or "")
    assert here.owned() == {name_of(BETA)}
