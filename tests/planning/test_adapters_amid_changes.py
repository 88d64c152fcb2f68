"""Adapters while models come, go and move: what is detached, what stays, and what has room beside another."""

from __future__ import annotations

from reconciler.domain.adapter import AdapterServing, Gate
from reconciler.domain.desired import Fuses, Slot, Target
from reconciler.domain.plan import Action, Overrides, Reason
from reconciler.domain.units import GB, Bytes
from reconciler.planning.make_plan import make_plan
from tests.builders import desired, observation, pool, record
from tests.planning.adapter_world import (
    ALPHA,
    BETA,
    EDGE,
    MB,
    SIZE,
    base_name,
    error,
    known,
    look,
    lora,
    ours,
    pin,
    planned,
    recorded,
    said,
    serves,
    settled,
    there,
    verdict,
    why,
)

FAR = Target(name="far", runtime="llama-server", endpoint="http://127.0.0.1:9090", preset="/etc/far.ini")
STANDS = {"models": [there()], "served": [serves()], "mine": record(ours(), adapters=(recorded(),))}


def test_a_candidate_of_what_is_served_under_its_name_goes_though_its_receipt_expired() -> None:
    """The very content is served already: nothing is tried any more."""
    adapter = lora(gate=Gate(receipt="/r.json", on_missing="serve-as-candidate"))
    mine = record(ours(), adapters=(recorded(), recorded("sql-candidate", "sql 2", adapter="sql")))
    served = [serves(), serves("sql-candidate", "sql 2")]
    expired = {"sql": verdict("sql 1", unpromoted=(error("too old"),))}
    plan = planned(adapter, models=[there()], served=served, mine=mine, says=expired).plan
    assert said(plan.changes) == ["detach sql-candidate from alpha"]
    assert why(plan.kept) == [("sql", "in-sync")]


def test_while_a_question_is_open_no_row_is_both_kept_and_detached() -> None:
    """Its base gives way to another model, and nobody said yet whether it belongs to that."""
    mine = record(ours(), adapters=(recorded(),))
    want = desired(Slot(name="coder"), targets=(EDGE,), adapters=(lora(on_base_change="follow"),))
    seen = observation(known(alpha=60, beta=90), look([there(), there(BETA)], [serves()]))
    plan = make_plan(want, seen, mine, overrides=Overrides(accept=("coder",)))
    assert [need.kind for need in plan.needs] == ["adapter"]
    gone = {row.subject for row in plan.changes if row.adapter is not None}
    assert gone
    assert not gone & {row.subject for row in plan.kept}


def test_hold_leaves_it_on_no_base_that_somebody_removed() -> None:
    mine = record(ours(BETA), adapters=(recorded(),))
    plan = planned(lora(), slots=(pin(BETA),), models=[there(BETA)], served=[serves()], mine=mine).plan
    assert said(plan.changes) == ["update sql to beta"]


def test_it_cannot_follow_its_base_to_another_target() -> None:
    want = desired(
        Slot(name="coder", model="acme/beta-1b", quant="Q4_K_M", target="far"),
        targets=(EDGE, FAR),
        adapters=(lora(on_base_change="follow"),),
    )
    far = look().model_copy(update={"name": "far", "key": FAR.key})
    seen = observation(known(), look([there()], [serves()]), far)
    plan = settled(want, seen, record(ours(), adapters=(recorded(),)), {}).plan
    assert said(plan.changes) == ["install beta"]
    (row,) = [row for row in plan.kept if row.adapter is None]
    assert (row.reason, "its base goes to far" in row.message) == (Reason.HELD_BY_ADAPTER, True)


def test_two_that_each_fit_the_disk_are_not_both_attached_where_they_do_not_together() -> None:
    disk = look().disk
    assert disk is not None
    tight = disk.model_copy(update={"free_bytes": Bytes(GB + SIZE + 50 * MB)})
    plan = planned(
        lora("sql"),
        lora("notes"),
        models=[there()],
        mine=record(ours()),
        pool=pool(min_free_disk=Bytes(GB)),
        look_changes={"disk": tight},
    ).plan
    assert (said(plan.changes), why(plan.blocked)) == (["attach sql to alpha"], [("notes", "no-room")])
    assert "50.0 MB missing on the disk" in plan.blocked[0].message


def test_where_nobody_told_which_disk_holds_them_the_roomiest_one_is_enough() -> None:
    disk = look().disk
    assert disk is not None
    full, roomy = (
        disk.model_copy(update={"device": one, "free_bytes": Bytes(free)}) for one, free in (("a", GB), ("b", 9 * GB))
    )
    far = look(disk=roomy).model_copy(update={"name": "far", "key": FAR.key})
    want = desired(pin(target="edge"), targets=(EDGE, FAR), adapters=(lora(),), pool=pool(min_free_disk=Bytes(GB)))
    plan = settled(want, observation(known(), look([there()], disk=full), far), record(ours()), {}).plan
    assert said(plan.changes) == ["attach sql to alpha"]


def test_in_a_gap_nothing_is_attached() -> None:
    """What goes first has nothing after it: its step must not attach."""
    plan = planned(
        lora(on_base_change="follow"),
        slots=(Slot(name="coder"),),
        **STANDS,
        scores={"alpha": 60, "beta": 90},
        overrides=Overrides(accept=("coder",)),
        pool=pool(disk_budget=Bytes(6 * GB), allow_gap=True),
    ).plan
    moves = [row for row in plan.changes if row.adapter is not None]
    assert [row.action for row in moves] == [Action.DETACH, Action.ATTACH]
    assert [row.adapter.after is None for row in moves if row.adapter] == [True, False]


def test_what_a_target_cannot_be_told_to_detach_has_no_row_though_its_base_goes() -> None:
    plan = planned(
        lora(),
        slots=(),
        **STANDS,
        pool=pool(never=("*alpha*",)),
        fuses=Fuses(allow_empty=True),
        look_changes={"takes_adapters": None},
    ).plan
    assert "detach sql from alpha" not in said(plan.changes)


def test_a_base_that_fills_its_slot_under_another_name_is_that_base() -> None:
    mine = there().model_copy(update={"name": "mine"})
    plan = planned(lora(), models=[mine]).plan
    assert said(plan.changes) == ["attach sql to mine"]
    other = lora(serve=(AdapterServing(target="edge", name="tools"),))
    assert said(planned(other, models=[mine, there(BETA)]).plan.changes) == ["attach tools to mine"]
    assert base_name(ALPHA) not in said(plan.changes)[0]
