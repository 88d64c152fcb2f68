"""Rows of the table that the plan's own tests do not show by themselves."""

from __future__ import annotations

import shlex

import pytest

from reconciler.domain.desired import Refresh, Slot
from reconciler.domain.observation import HubNeed, Resolved
from reconciler.domain.plan import Action, Reason
from reconciler.domain.units import GB
from reconciler.planning.make_plan import make_plan
from tests.builders import artifact, catalogue, desired, entry, installed, model, observation, observed, record, target

SMALL, BIG = "acme/coyote-8b-instruct", "acme/wolf-20b-instruct"
SCORES = {SMALL: 10.0, BIG: 95.0}


@pytest.mark.parametrize(
    ("program", "command"), [("lms", "lms get"), ("vllm", "vllm serve"), ("llama-server", "llama-server -hf")]
)
def test_a_target_without_an_interface_is_blocked_with_the_command_to_copy(program: str, command: str) -> None:
    by_hand = target("desk", runtime="advisory", path=None, program=program)
    want = desired(Slot(name="chat"), targets=(by_hand,))
    seen = observation(catalogue(model(SMALL), scores=SCORES), observed(name="desk", key=by_hand.key))
    plan = make_plan(want, seen, record())
    assert plan.changes == ()
    assert [row.reason for row in plan.blocked] == [Reason.NO_API]
    assert (plan.blocked[0].command or "").startswith(command)


def test_a_slot_is_held_once_whoever_else_would_win_it() -> None:
    mine = artifact(f"{SMALL}-GGUF")
    names = (SMALL, BIG, "acme/bear-20b", "acme/lynx-20b")
    known = catalogue(*(model(name, size_gb=5) for name in names), scores={**dict.fromkeys(names, 95.0), SMALL: 10.0})
    want = desired(Slot(name="chat"), refresh=Refresh(proposal_threshold=1))
    seen = observation(known, observed(installed(mine)))
    plan = make_plan(want, seen, record(entry(mine, "slot/chat[0]", model_id=SMALL), applied_digest="d1"))
    assert [(row.address, row.reason) for row in plan.held] == [("slot/chat[0]", Reason.APPROVAL_NEEDED)]
    assert plan.changes == ()


def test_no_name_of_a_stranger_can_add_a_word_to_the_command_to_copy() -> None:
    wanted = artifact(f"{SMALL}-GGUF")
    hostile = f"{SMALL}-GGUF/$(rm -rf ~);`id` 'x.gguf"
    files = tuple(one.model_copy(update={"path": hostile.rpartition("/")[2]}) for one in wanted.files)
    offered = wanted.model_copy(update={"files": files})
    need = HubNeed(repo=wanted.repo, quant="Q4_K_M")
    theirs = installed(offered, digest="other", bytes=offered.bytes + 1)
    seen = observation(
        catalogue(model(SMALL), scores=SCORES), observed(theirs), answers=(Resolved(need=need, artifact=offered),)
    )
    plan = make_plan(desired(Slot(name="a", model=SMALL, quant="Q4_K_M")), seen, record())
    (row,) = plan.blocked
    assert row.reason is Reason.UNMANAGED_CONFLICT
    assert shlex.split(row.command or "") == ["localmodels", "adopt", hostile]


def test_what_the_record_says_of_sizes_is_not_believed() -> None:
    """A bogus size in the record costs nothing: what is used is what was observed."""
    mine = artifact(f"{SMALL}-GGUF")
    bogus = entry(mine, "slot/chat[0]", model_id=SMALL, bytes=999 * GB)
    seen = observation(catalogue(model(SMALL), scores=SCORES), observed(installed(mine)))
    plan = make_plan(desired(Slot(name="chat")), seen, record(bogus, applied_digest="d1"))
    assert plan.in_sync
    assert plan.budgets[0].used_bytes == 5 * GB


def test_what_is_already_there_is_neither_fetched_nor_is_anything_evicted_for_it() -> None:
    mine, other = artifact(f"{SMALL}-GGUF"), artifact("acme/other-GGUF")
    seen = observation(catalogue(model(SMALL), scores=SCORES), observed(installed(mine), installed(other)))
    want = desired(Slot(name="chat"), pool=desired().pool.model_copy(update={"prune": "pressure"}))
    known = record(entry(mine, "slot/chat[0]", model_id=SMALL), entry(other, model_id="acme/other"))
    plan = make_plan(want, seen, known)
    assert not [row for row in plan.changes if row.action in (Action.INSTALL, Action.EVICT)]
    assert plan.needs == ()


def test_what_somebody_elses_settings_hold_stays_and_says_what_to_do() -> None:
    mine, other = artifact(f"{SMALL}-GGUF"), artifact(f"{BIG}-GGUF")
    held = installed(mine, held_by="a section that is not ours serves it: take theirs out to let it go")
    known = record(
        entry(mine, "slot/chat[0]", model_id=SMALL),
        entry(other, "slot/chat[0]", model_id=BIG),
        applied_digest="d1",
    )
    want = desired(fuses=desired().fuses.model_copy(update={"allow_empty": True}))
    seen = observation(catalogue(model(SMALL), model(BIG), scores=SCORES), observed(held, installed(other)))
    plan = make_plan(want, seen, known)
    (row,) = plan.blocked
    assert (row.name, row.reason, row.ours) == (held.name, Reason.UNMANAGED_CONFLICT, True)
    assert "take theirs out" in row.message
    assert [(one.action, one.name) for one in plan.changes] == [(Action.EVICT, installed(other).name)]
