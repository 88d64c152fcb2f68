"""Adapters: attached after their base, detached before it goes, never taken from anybody, never in a model's way."""

from __future__ import annotations

import pytest

from reconciler.domain.adapter import Adapter, AdapterServing, AdapterSource, Gate, made_key
from reconciler.domain.desired import Fuses, Slot, Target
from reconciler.domain.observation import UnknownTarget
from reconciler.domain.plan import Action, Overrides, Plan, Reason
from reconciler.domain.units import GB, Bytes
from reconciler.planning.make_plan import make_plan
from tests.builders import after, desired, observation, pool, record
from tests.planning.adapter_world import (
    ALPHA,
    BETA,
    EDGE,
    MB,
    SIZE,
    Told,
    base_name,
    digest,
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

STANDS = {"models": [there()], "served": [serves()], "mine": record(ours(), adapters=(recorded(),))}
BOTH = {"alpha": 60, "beta": 90}
RANKED = Slot(name="coder")


def test_it_is_attached_once_its_base_is_there() -> None:
    plan = planned(lora()).plan
    assert said(plan.changes) == ["install alpha", "attach sql to alpha"]
    row = plan.changes[1]
    assert (row.address, row.reason, row.bytes_down, row.slots) == ("adapter/sql", Reason.MISSING, SIZE, ())
    assert row.adapter is not None
    assert (row.adapter.before, row.adapter.after, row.adapter.declared_base) == (None, digest(), "coder")
    assert (plan.summary.install, plan.summary.update, plan.summary.attach, plan.applicable) == (1, 0, 1, True)


def test_nothing_is_asked_before_the_files_of_the_base_are_known() -> None:
    want = desired(pin(), targets=(EDGE,), adapters=(lora(),))
    plan = make_plan(want, observation(known(), look()), record())
    assert [need.kind for need in plan.needs] == ["hub"]
    assert [row.resolved for row in plan.changes] == [False, False]


def test_what_stands_is_in_sync() -> None:
    plan = planned(lora(), **STANDS).plan
    assert plan.in_sync
    assert why(plan.kept) == [("sql", "in-sync")]
    assert plan.budgets[0].used_bytes == 5 * GB + SIZE


def test_what_nobody_asks_for_is_detached_and_its_base_stays() -> None:
    assert said(planned(**STANDS).plan.changes) == ["detach sql from alpha"]
    plan = planned(lora(absent=True), **STANDS).plan
    assert [(row.action, row.reason, row.message) for row in plan.changes] == [
        (Action.DETACH, Reason.NOT_DESIRED, "absent: true")
    ]
    assert (plan.changes[0].bytes_freed, plan.summary.detach) == (SIZE, 1)


def test_what_is_gone_and_nobody_asks_for_is_forgotten() -> None:
    told = planned(**{**STANDS, "served": []})
    assert said(told.plan.changes) == ["forget sql from alpha"]


def test_what_somebody_else_serves_under_our_name_is_never_detached() -> None:
    foreign = serves(content="theirs", path="/theirs/sql.gguf")
    assert said(planned(**{**STANDS, "served": [foreign]}).plan.changes) == ["forget sql from alpha"]
    plan = planned(models=[there()], served=[foreign], mine=record(ours())).plan
    assert plan.in_sync


@pytest.mark.parametrize(
    "foreign",
    [serves(content="theirs", path="/theirs/sql.gguf"), serves(path="/theirs/sql.gguf", digest=None)],
    ids=["other content", "nothing but another place"],
)
def test_what_somebody_put_in_the_place_of_ours_is_left_alone_though_the_file_asks_for_ours(foreign: object) -> None:
    plan = planned(lora(), **{**STANDS, "served": [foreign]}).plan
    assert not plan.changes
    assert [(row.reason, row.ours) for row in plan.blocked] == [(Reason.UNMANAGED_CONFLICT, False)]
    assert [one.kind for one in plan.drift] == ["content-changed"]


@pytest.mark.parametrize(
    ("now", "why_so"),
    [
        (serves(digest=digest("other")), "other content"),
        (serves(path=f"/moved/{digest()}/a.gguf", digest=None), "served from /moved"),
        (serves(scale=0.5), "scale 0.5 instead of 1"),
        (serves(on=BETA), "served on acme/beta"),
        (serves(digest=None, scale=None), "does not"),
    ],
)
def test_drift_is_repaired(now: object, why_so: str) -> None:
    plan = planned(lora(), **{**STANDS, "served": [now]}).plan
    assert [(row.action, row.reason) for row in plan.changes] == [(Action.UPDATE, Reason.DRIFTED)]
    assert why_so in plan.changes[0].message
    assert [one.kind for one in plan.drift] == ["content-changed"]


def test_a_server_that_was_started_anew_gets_it_back() -> None:
    plan = planned(lora(), **{**STANDS, "served": []}).plan
    assert [(row.action, row.reason, row.bytes_down) for row in plan.changes] == [(Action.ATTACH, Reason.DRIFTED, 0)]
    assert [one.kind for one in plan.drift] == ["missing"]


def test_new_content_and_a_new_scale_are_updates() -> None:
    plan = planned(lora(), **STANDS, says={"sql": verdict("sql 2")}).plan
    assert [(row.reason, row.bytes_down) for row in plan.changes] == [(Reason.UPSTREAM_MOVED, SIZE)]
    assert (plan.summary.update, plan.summary.attach) == (1, 0)
    scaled = lora(serve=(AdapterServing(target="edge", name="sql", scale=0.5),))
    (row,) = planned(scaled, **STANDS).plan.changes
    assert (row.action, row.reason, row.message) == (Action.UPDATE, Reason.SERVING, "scale 0.5 instead of 1")
    assert not row.only_serves
    assert not row.fetches


TAGGED = AdapterSource(repo="acme/sql", revision="v1")


@pytest.mark.parametrize("moved", [verdict("sql 2"), verdict(moved_to="ab" * 20)], ids=["new content", "our copy"])
def test_a_tag_that_moved_is_held_until_a_person_takes_it(moved: object) -> None:
    mine = record(ours(), adapters=(recorded(source=TAGGED),))
    stands = {**STANDS, "mine": mine, "says": {"sql": moved}}
    plan = planned(lora(source=TAGGED), **stands).plan
    (row,) = plan.held
    assert (plan.changes, plan.blocked, row.reason, plan.in_sync) == ((), (), Reason.UPSTREAM_MOVED, True)
    assert row.hint == "`localmodels apply --accept adapter/sql` takes it"


def test_a_tag_that_moved_is_taken_by_accept_and_by_the_file() -> None:
    mine = record(ours(), adapters=(recorded(source=TAGGED),))
    stands = {**STANDS, "mine": mine, "says": {"sql": verdict("sql 2")}}
    for told in (
        planned(lora(source=TAGGED), **stands, overrides=Overrides(accept=("adapter/sql",))),
        planned(lora(source=TAGGED.model_copy(update={"revision": "v2"})), **stands),
    ):
        assert [(row.action, row.reason) for row in told.plan.changes] == [(Action.UPDATE, Reason.UPSTREAM_MOVED)]
    assert planned(lora(source=TAGGED), **stands, overrides=Overrides(accept=("adapter/notes",))).plan.changes == ()


def test_a_broken_adapter_is_told_and_its_base_comes_all_the_same() -> None:
    whole, broken = planned(), planned(lora(), says={"sql": verdict("sql 1", error(), error("rank 8"))})
    assert broken.plan.changes == whole.plan.changes
    (row,) = broken.plan.blocked
    assert (row.reason, row.message) == (Reason.ADAPTER_REJECTED, "it has 4 layers, its base has 32; rank 8")
    assert broken.plan.applicable


def test_a_broken_successor_leaves_what_is_attached() -> None:
    plan = planned(lora(), **STANDS, says={"sql": verdict("sql 2", error())}).plan
    assert (plan.changes, why(plan.blocked)) == ((), [("sql", "adapter-rejected")])
    assert "what is attached stays" in plan.blocked[0].message


def test_a_source_that_does_not_answer_changes_nothing() -> None:
    assert why(planned(lora(), says={"sql": "refused"}).plan.blocked) == [("sql", "unavailable")]
    plan = planned(lora(), **STANDS, says={"sql": "refused"}).plan
    row = next(row for row in plan.kept if row.adapter is not None)
    assert (plan.in_sync, row.reason, row.message.endswith("unverified: refused")) == (True, Reason.UNAVAILABLE, True)
    assert row.hint


def test_offline_it_is_asked_all_the_same_for_its_files_may_be_here() -> None:
    hub = lora(source=AdapterSource(repo="acme/sql", revision="v1"))
    assert planned(hub, **STANDS, offline=True, says={"sql": "offline"}).plan.in_sync
    fresh = planned(hub, models=[there()], mine=record(ours()), offline=True, says={"sql": "offline"}).plan
    assert (fresh.changes, why(fresh.blocked)) == ((), [("sql", "unavailable")])
    held = planned(hub, models=[there()], mine=record(ours()), offline=True).plan
    assert said(held.changes) == ["attach sql to alpha"]


def test_an_organisation_that_is_not_allowed_is_not_asked() -> None:
    plan = planned(lora(source=AdapterSource(repo="evil/sql", revision="v1"))).plan
    assert why(plan.blocked) == [("sql", "not-allowed")]
    never = planned(lora(source=AdapterSource(repo="acme/sql", revision="v1")), pool=pool(never=("acme/sql",))).plan
    assert why(never.blocked) == [("sql", "not-allowed")]


def test_names_that_are_somebodys_are_left_alone() -> None:
    foreign = serves(content="theirs", path="/theirs/a.gguf")
    plan = planned(lora(), models=[there()], served=[foreign], mine=record(ours())).plan
    assert (plan.changes, why(plan.blocked)) == ((), [("sql", "unmanaged-conflict")])
    same = planned(lora(), models=[there()], served=[serves()], mine=record(ours())).plan
    assert (same.in_sync, why(same.kept)) == (True, [("sql", "unmanaged-match")])
    model = there(BETA).model_copy(update={"name": "sql", "repo": None})
    taken = planned(lora(), models=[there(), model], mine=record(ours())).plan
    assert [(row.reason, "a model" in row.message) for row in taken.blocked] == [(Reason.UNMANAGED_CONFLICT, True)]


def test_in_use_it_waits_and_so_does_the_eviction_of_its_base() -> None:
    busy = {**STANDS, "served": [serves(loaded=True)]}
    assert why(planned(**busy).plan.deferred) == [("sql", "in-use")]
    assert why(planned(lora(), **busy, says={"sql": verdict("sql 2")}).plan.deferred) == [("sql", "in-use")]
    free = Fuses(allow_empty=True)
    plan = planned(slots=(), **busy, fuses=free).plan
    assert (plan.changes, [row.reason for row in plan.deferred]) == ((), [Reason.IN_USE, Reason.IN_USE])


def test_it_goes_before_its_base_does() -> None:
    plan = planned(slots=(), **STANDS, fuses=Fuses(allow_empty=True)).plan
    assert said(plan.changes) == ["detach sql from alpha", "evict alpha"]


def test_a_target_that_is_unknown_decides_nothing() -> None:
    silent = UnknownTarget(name="edge", key=EDGE.key, reason="connection refused")
    for adapters in ((), (lora(),)):
        want = desired(pin(), targets=(EDGE,), adapters=adapters)
        told = settled(want, observation(known(), silent), record(ours(), adapters=(recorded(),)), {})
        assert told.plan.changes == ()
        assert why(told.plan.blocked) == [("sql", "target-unknown")]


@pytest.mark.parametrize("adapters", [(), (lora(absent=True),)], ids=["entry removed", "absent"])
def test_what_is_to_go_from_an_unknown_target_is_told_though_no_model_is_there(adapters: tuple[Adapter, ...]) -> None:
    """The plan is not in sync, so that neither `apply` nor `status` says so."""
    silent = UnknownTarget(name="edge", key=EDGE.key, reason="connection refused", hint="start it")
    want = desired(targets=(EDGE,), adapters=adapters)
    plan = settled(want, observation(known(), silent), record(adapters=(recorded(),)), {}).plan
    (row,) = plan.blocked
    assert (plan.changes, row.action, row.reason, row.hint) == ((), Action.KEEP, Reason.TARGET_UNKNOWN, "start it")
    assert row.message.startswith("target edge is unknown, so nothing is decided: connection refused; ")
    assert not plan.in_sync


def test_prune_never_leaves_what_nobody_asks_for_and_absent_is_an_order() -> None:
    never = pool(prune="never")
    plan = planned(**STANDS, pool=never).plan
    assert (plan.in_sync, why(plan.kept)) == (True, [("sql", "prune-off")])
    assert planned(**STANDS, pool=never, slots=(), fuses=Fuses(allow_empty=True)).plan.changes == ()
    assert said(planned(lora(absent=True), **STANDS, pool=never).plan.changes) == ["detach sql from alpha"]
    assert said(planned(**{**STANDS, "served": []}, pool=never).plan.changes) == ["forget sql from alpha"]


def test_a_target_that_cannot_be_told_gets_the_command() -> None:
    plan = planned(lora(), models=[there()], mine=record(ours()), look_changes={"takes_adapters": None}).plan
    (row,) = plan.blocked
    assert (row.reason, row.command) == (
        Reason.NO_API,
        "llama-server -hf acme/alpha-1b-GGUF:Q4_K_M --lora /adapters/sql --alias sql",
    )
    assert "preset file" in row.message
    held = planned(**STANDS, look_changes={"takes_adapters": None}).plan
    assert (held.changes, why(held.blocked)) == ((), [("sql", "no-api")])


def test_an_ollama_that_makes_none_gets_no_command_that_it_refuses() -> None:
    edge = Target(name="edge", runtime="ollama", endpoint="http://127.0.0.1:11434")
    mine = record(ours(target_key=edge.key))
    told = {"models": [there()], "mine": mine, "look_changes": {"takes_adapters": None}}
    (row,) = [one for one in planned(lora(), target=edge, **told).plan.blocked if one.adapter is not None]
    assert (row.reason, row.command) == (Reason.NO_API, None)
    assert row.message == "edge makes no models with adapters: Ollama removed that in 0.34.1"
    assert row.hint == "serve it with a llama-server, or merge it into its base and serve that as a model"


def test_a_vllm_by_hand_gets_its_command_with_the_base() -> None:
    far = Target(name="edge", runtime="advisory", program="vllm")
    plan = planned(lora(), slots=(RANKED,), target=far, look_changes={"takes_adapters": None}).plan
    (row,) = [row for row in plan.blocked if row.adapter is not None]
    assert row.reason is Reason.NO_API
    assert row.command is not None
    assert row.command.endswith("vllm serve acme/beta-1b --enable-lora --lora-modules 'sql=/adapters/sql'")


def test_the_command_names_what_somebody_else_has_the_server_serve() -> None:
    """Whoever copies it must not take theirs down."""
    edge = Target(name="edge", runtime="advisory", program="vllm", endpoint="http://127.0.0.1:8000")
    theirs = serves("theirs", digest=None, path="/theirs/lora")
    elsewhere = serves("other", digest=None, path="/theirs/other").model_copy(update={"base": "acme/nobody"})
    plan = planned(
        lora(), models=[there()], served=[theirs, elsewhere], target=edge, mine=record(ours(target_key=edge.key)),
        look_changes={"takes_adapters": None},
    ).plan  # fmt: skip
    (row,) = plan.blocked
    assert (row.command or "").endswith("--lora-modules 'theirs=/theirs/lora' 'sql=/adapters/sql'")
    assert (row.message or "").endswith("what else it serves (theirs) has to fit --max-lora-rank too")


def test_one_command_starts_a_vllm_with_every_adapter_of_a_base_and_the_largest_rank() -> None:
    edge = Target(name="edge", runtime="advisory", program="vllm", endpoint="http://127.0.0.1:8000")
    mine = record(ours(target_key=edge.key))
    says = {"sql": verdict("a", rank=16), "notes": verdict("b", rank=40), "tests": verdict("c", rank=8)}
    told = {"models": [there()], "mine": mine, "says": says, "target": edge}
    by_hand = serves("tests", digest=None, path="/adapters/tests")
    plan = planned(
        lora(), lora("notes"), lora("tests"), served=[by_hand], look_changes={"takes_adapters": None}, **told
    ).plan
    assert why(plan.kept) == [("tests", "unmanaged-match")]
    assert why(plan.blocked) == [("notes", "no-api"), ("sql", "no-api")]
    (command,) = {row.command for row in plan.blocked}
    assert command is not None
    assert "--max-lora-rank 64 --lora-modules" in command
    assert [f"{name}=/adapters/{name}" in command for name in ("sql", "notes", "tests")] == [True] * 3


def test_what_a_target_takes_no_more_of_is_detached_all_the_same_where_it_can_be() -> None:
    once = {"takes_adapters": None, "detaches_adapters": True}
    assert said(planned(**STANDS, look_changes=once).plan.changes) == ["detach sql from alpha"]
    (row,) = planned(lora(), **STANDS, says={"sql": verdict("sql 2")}, look_changes=once).plan.blocked
    assert row.reason is Reason.NO_API


def test_another_element_type_of_what_was_made_is_a_change_that_waits_while_it_is_in_use() -> None:
    made = f"/held/{digest()}/made/{made_key('ab12', 'f16')}/adapter.gguf"
    peft = {"sql": verdict(format="peft")}

    def with_(adapter: Adapter, **changes: object) -> Plan:
        mine = record(ours(), adapters=(recorded(path=made),))
        return planned(adapter, models=[there()], served=[serves(path=made, **changes)], mine=mine, says=peft).plan

    assert with_(lora(convert="f16")).in_sync
    (row,) = with_(lora(convert="q8_0")).changes
    assert (row.action, row.reason, row.message) == (Action.UPDATE, Reason.SERVING, "GGUF as q8_0 instead of f16")
    assert [row.reason for row in with_(lora(convert="q8_0"), loaded=True).deferred] == [Reason.IN_USE]
    assert planned(lora(convert="q8_0"), **STANDS).plan.in_sync, "GGUF from its author is attached as it is"


def test_what_a_person_started_it_with_is_a_match() -> None:
    by_hand = serves(content="?", digest=None, path=None)
    plan = planned(
        lora(), models=[there()], served=[by_hand], mine=record(ours()), look_changes={"takes_adapters": None}
    ).plan
    assert (plan.in_sync, why(plan.kept)) == (True, [("sql", "unmanaged-match")])


def test_without_its_base_it_waits() -> None:
    plan = planned(lora(base="acme/beta-1b-GGUF")).plan
    assert why(plan.blocked) == [("sql", "base-missing")]
    big = planned(lora(), pool=pool(disk_budget=Bytes(GB))).plan
    assert [row.reason for row in big.blocked] == [Reason.BASE_MISSING, Reason.NO_ROOM]


def test_a_base_that_somebody_else_installed_will_do() -> None:
    plan = planned(lora(base="acme/beta-1b-GGUF"), models=[there(BETA)]).plan
    assert said(plan.changes) == ["attach sql to beta", "install alpha"]


def test_enabled_false_only_shows() -> None:
    plan = planned(lora(), enabled=False).plan
    assert (plan.changes, plan.needs) == ((), ())
    assert [row.reason for row in plan.held] == [Reason.DISABLED] * 2


# ------------------------------------------------------------------------------------------------ the gate


MISSING = verdict("sql 1", unpromoted=(error("no receipt at /r.json"),))


def gated(on_missing: str):
    return lora(gate=Gate(receipt="/r.json", on_missing=on_missing))  # type: ignore[arg-type]


def test_an_unpromoted_adapter_is_blocked_warned_of_or_a_candidate() -> None:
    says = {"sql": MISSING}
    blocked = planned(gated("block"), says=says).plan
    assert [(row.reason, row.message) for row in blocked.blocked] == [(Reason.NOT_PROMOTED, "no receipt at /r.json")]
    warned = planned(gated("warn"), says=says).plan
    assert said(warned.changes)[1] == "attach sql to alpha"
    assert any("not promoted: no receipt" in warning for warning in warned.warnings)
    tried = planned(gated("serve-as-candidate"), says=says).plan
    assert said(tried.changes)[1] == "attach sql-candidate to alpha"


def test_a_candidate_takes_its_name_once_it_is_promoted() -> None:
    candidate = {
        "models": [there()],
        "served": [serves("sql-candidate")],
        "mine": record(ours(), adapters=(recorded("sql-candidate", adapter="sql"),)),
    }
    assert planned(gated("serve-as-candidate"), **candidate, says={"sql": MISSING}).plan.in_sync
    plan = planned(gated("serve-as-candidate"), **candidate).plan
    assert said(plan.changes) == ["attach sql to alpha", "detach sql-candidate from alpha"]
    assert plan.changes[0].bytes_down == 0


def test_the_promoted_one_stays_beside_a_candidate() -> None:
    says = {"sql": verdict("sql 2", unpromoted=(error("too few trials"),))}
    plan = planned(gated("serve-as-candidate"), **STANDS, says=says).plan
    assert said(plan.changes) == ["attach sql-candidate to alpha"]
    assert why(plan.kept) == [("sql", "not-promoted")]
    stale = planned(gated("serve-as-candidate"), **STANDS, says={"sql": MISSING}).plan
    assert (stale.in_sync, why(stale.kept)) == (True, [("sql", "in-sync")])


# ------------------------------------------------------------------------------------------------ another base


def swap(change: str, *, on_beta: object = None, accept: bool = True, **more: object) -> Told:
    """Its slot would take beta, which ranks higher, in the place of alpha."""
    says = {("sql", base_name(BETA)): on_beta or verdict()}
    return planned(
        lora(on_base_change=change),
        slots=(RANKED,),
        **STANDS,
        scores=BOTH,
        says=says,
        overrides=Overrides(accept=("coder",)) if accept else None,
        **more,
    )


def test_hold_keeps_the_base_and_says_how_to_go_on() -> None:
    plan = swap("hold").plan
    assert plan.changes == ()
    (row,) = plan.held
    assert (row.reason, row.address, "onBaseChange: drop" in row.message) == (
        Reason.HELD_BY_ADAPTER, "slot/coder[0]", True,
    )  # fmt: skip


def test_follow_moves_it_to_a_base_it_belongs_to() -> None:
    plan = swap("follow").plan
    assert said(plan.changes) == ["install beta", "update sql to beta", "evict alpha"]
    move = plan.changes[1]
    assert (move.reason, move.bytes_down) == (Reason.BASE_CHANGED, 0)
    assert move.adapter is not None
    assert move.adapter.rebased_from == base_name(ALPHA)


def test_follow_holds_where_it_does_not_belong_to_the_other() -> None:
    plan = swap("follow", on_beta=verdict("sql 1", error())).plan
    assert (plan.changes, [row.reason for row in plan.held]) == ((), [Reason.HELD_BY_ADAPTER])
    assert "cannot follow: it has 4 layers" in plan.held[0].message
    assert [row.reason for row in swap("follow", on_beta="refused").plan.held] == [Reason.HELD_BY_ADAPTER]


def test_drop_lets_the_swap_go() -> None:
    plan = swap("drop", on_beta=verdict("sql 1", error())).plan
    assert said(plan.changes) == ["install beta", "detach sql from alpha", "evict alpha"]
    assert why(plan.blocked) == [("sql", "adapter-rejected")]
    assert plan.blocked[0].message.endswith("what is attached goes with its base")
    assert said(swap("drop").plan.changes) == ["install beta", "update sql to beta", "evict alpha"]


def test_with_a_gap_it_goes_with_the_old_base_and_comes_with_the_new_one() -> None:
    plan = swap("follow", pool=pool(disk_budget=Bytes(6 * GB), allow_gap=True)).plan
    assert said(plan.changes) == ["detach sql from alpha", "evict alpha", "install beta", "attach sql to beta"]
    assert [row.gap for row in plan.changes] == [True, True, True, True]


def test_a_pin_is_an_order_and_the_adapter_stays_with_the_old_base() -> None:
    plan = planned(lora(), slots=(pin(BETA),), **STANDS).plan
    assert said(plan.changes) == ["install beta"]
    assert [row.reason for row in plan.kept] == [Reason.HELD_BY_ADAPTER]
    assert why(plan.held) == [("sql", "held-by-adapter")]


def test_a_base_that_may_not_be_here_goes_and_the_adapter_with_it() -> None:
    plan = planned(lora(), slots=(pin(BETA),), **STANDS, pool=pool(never=("*alpha*",))).plan
    assert said(plan.changes) == ["install beta", "update sql to beta", "evict alpha"]
    nothing = planned(lora(), slots=(RANKED,), **STANDS, pool=pool(never=("*alpha*", "*beta*")),
                      fuses=Fuses(allow_empty=True)).plan  # fmt: skip
    assert said(nothing.changes) == ["detach sql from alpha", "evict alpha"]


def test_a_person_who_names_another_base_moves_it() -> None:
    slots = (pin(), pin(BETA, name="chat"))
    plan = planned(lora(base="chat"), slots=slots, **STANDS).plan
    assert said(plan.changes) == ["install beta", "update sql to beta"]


# ------------------------------------------------------------------------------------------------ room


def two(**changes: object) -> Plan:
    adapters = (lora("sql"), lora("notes"))
    return planned(*adapters, models=[there()], mine=record(ours()), **changes).plan


def test_files_of_one_content_count_once() -> None:
    shared = {name: verdict("same") for name in ("sql", "notes")}
    plan = two(says=shared)
    assert [row.bytes_down for row in plan.changes] == [SIZE, 0]
    assert plan.budgets[0].after_bytes == 5 * GB + SIZE
    assert two().budgets[0].after_bytes == 5 * GB + 2 * SIZE
    shared["notes"] = verdict("same", bytes=Bytes(SIZE + MB))  # the form its target takes is made of it beside it
    assert [row.bytes_down for row in two(says=shared).changes] in ([SIZE, MB], [SIZE + MB, 0])


def test_without_room_it_is_blocked_and_the_next_may_fit() -> None:
    tight = pool(disk_budget=Bytes(5 * GB + 150 * MB))
    plan = two(pool=tight)
    assert (said(plan.changes), why(plan.blocked)) == (["attach sql to alpha"], [("notes", "no-room")])
    assert (
        "50.0 MB missing in pool.diskBudget" in plan.blocked[0].message or "missing in pool" in plan.blocked[0].message
    )
    held = planned(lora(), models=[there()], mine=record(ours()), look_changes={"disk": None}).plan
    assert held.budgets[0].after_bytes == 5 * GB + SIZE


def test_what_goes_makes_room_and_goes_first() -> None:
    tight = pool(disk_budget=Bytes(5 * GB + 150 * MB))
    plan = planned(lora("notes"), **STANDS, pool=tight).plan
    assert said(plan.changes) == ["detach sql from alpha", "attach notes to alpha"]
    (budget,) = plan.budgets
    assert (budget.after_bytes, budget.peak_bytes <= budget.limit_bytes) == (5 * GB + SIZE, True)


def test_models_leave_the_room_that_adapters_take() -> None:
    tight = pool(disk_budget=Bytes(10 * GB))
    slots = (pin(), pin(BETA, name="chat"))
    mine = {"models": [there()], "served": [serves()], "mine": record(ours(), adapters=(recorded(),))}
    assert [row.reason for row in planned(lora(), slots=slots, pool=tight, **mine).plan.blocked] == [Reason.NO_ROOM]


# ------------------------------------------------------------------------------------------------ again


@pytest.mark.parametrize(
    "told",
    [
        planned(lora()),
        planned(lora(), **STANDS, says={"sql": verdict("sql 2")}),
        planned(**STANDS),
        swap("follow"),
        swap("hold"),
        planned(lora(), slots=(pin(BETA),), **STANDS),
        planned(gated("serve-as-candidate"), says={"sql": MISSING}),
    ],
    ids=["fresh", "moved", "unwanted", "follow", "hold", "pinned", "candidate"],
)
def test_done_once_nothing_is_left_to_do(told: Told) -> None:
    seen, mine = after(told.plan, told.seen, told.known)
    again = make_plan(told.want, seen, mine)
    again = replace_needs(told, seen, mine) if again.needs else again
    assert said(again.changes) == []


def replace_needs(told: Told, seen: object, mine: object) -> Plan:
    return settled(told.want, seen, mine, {}).plan  # type: ignore[arg-type]


def test_a_fingerprint_knows_what_is_served() -> None:
    plans = [planned(lora(), **{**STANDS, "served": served}).plan for served in ([serves()], [serves(scale=0.5)], [])]
    assert len({plan.fingerprint.targets for plan in plans}) == 3


def test_an_adapter_on_a_target_that_left_the_file_is_told() -> None:
    far = recorded(target_key="llama-server|http://gone:1", target_name="gone")
    plan = planned(mine=record(ours(), adapters=(far,)), models=[there()]).plan
    assert any("adapter sql on gone is orphaned" in warning for warning in plan.warnings)


def test_the_same_in_any_order_of_what_is_served() -> None:
    adapters = (lora("sql"), lora("notes"))
    served, mine = [serves(), serves("notes", "notes 1")], (recorded(), recorded("notes", "notes 1"))
    one = planned(*adapters, models=[there()], served=served, mine=record(ours(), adapters=mine)).plan
    other = planned(*adapters, models=[there()], served=served[::-1], mine=record(ours(), adapters=mine)).plan
    assert one == other
