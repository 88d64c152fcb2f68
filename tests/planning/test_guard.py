"""What counts as a loss, and how far a person's word for one plan goes."""

from __future__ import annotations

from reconciler.domain.desired import Fuses, Slot
from reconciler.domain.plan import Action, Overrides, Plan
from reconciler.planning.make_plan import make_plan
from tests.builders import artifact, catalogue, desired, entry, installed, model, observation, observed, record, settled

OLD, NEW = "acme/coyote-8b-instruct", "acme/wolf-20b-instruct"
NONE = Fuses(max_evictions=0)


def swap(*, resolved: bool) -> Plan:
    """A pin goes from one model to another."""
    mine = artifact(f"{OLD}-GGUF")
    want = desired(Slot(name="a", model=NEW, quant="Q4_K_M"), fuses=NONE)
    seen = observation(catalogue(model(OLD), model(NEW)), observed(installed(mine)))
    known = record(entry(mine, "slot/a[0]", model_id=OLD))
    return settled(want, seen, known) if resolved else make_plan(want, seen, known)


def test_what_is_replaced_is_no_loss() -> None:
    plan = swap(resolved=True)
    assert [row.action for row in plan.changes] == [Action.INSTALL, Action.EVICT]
    assert plan.refused == ()


def test_a_replacement_that_nobody_has_seen_is_none() -> None:
    plan = swap(resolved=False)
    assert not plan.applicable
    assert [refusal.rule for refusal in plan.refused] == ["fuses.maxEvictions"]


def test_a_word_for_so_many_evictions_is_no_word_for_more() -> None:
    mine = [artifact(f"acme/m{number}-1b-GGUF") for number in range(6)]
    seen = observation(catalogue(), observed(*(installed(one) for one in mine)))
    known = record(*(entry(one, model_id=one.repo.removesuffix("-GGUF")) for one in mine))
    for allowed, rules in ((None, 3), (5, 3), (6, 0)):
        plan = make_plan(desired(), seen, known, overrides=Overrides(allow_evictions=allowed))
        assert len(plan.refused) == rules, allowed
        assert sum(row.action is Action.EVICT for row in plan.changes) == 6
