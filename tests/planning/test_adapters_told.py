"""What a plan tells of adapters that stand: what nobody can verify any more, what somebody else loaded; what to do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.domain.adapter import AdapterServing, AdapterSource, AdapterVerdict, Gate, RecordAdapter, ServedAdapter
from reconciler.domain.desired import Slot, Target
from reconciler.domain.observation import AdapterNeed, Unavailable, UnknownTarget
from reconciler.domain.plan import Plan, Reason, Row
from reconciler.domain.units import GB, Bytes
from tests.builders import desired, observation, pool, record
from tests.planning.adapter_world import (
    ALPHA,
    BETA,
    EDGE,
    base_name,
    error,
    known,
    look,
    lora,
    ours,
    pin,
    planned,
    recorded,
    serves,
    settled,
    there,
    verdict,
    why,
)

STANDS = {"models": [there()], "served": [serves()], "mine": record(ours(), adapters=(recorded(),))}


def row_of(plan: Plan, name: str = "sql") -> Row:
    rows = (*plan.changes, *plan.kept, *plan.held, *plan.deferred, *plan.blocked)
    return next(row for row in rows if row.adapter is not None and row.adapter.name == name)


def codes(row: Row) -> list[str]:
    return [one.code for one in row.adapter.findings] if row.adapter is not None else []


def unread(code: str, message: str = "/r is not there", hint: str | None = "put it back") -> Plan:
    """The plan where what is attached cannot be looked into."""
    need = AdapterNeed(adapter="sql", target="edge", base_id="acme/alpha-1b", base_name=base_name(ALPHA))
    answer = Unavailable.model_validate({"need": need, "code": code, "message": message, "hint": hint})
    seen = observation(known(), look(STANDS["models"], STANDS["served"]))  # type: ignore[arg-type]
    seen = seen.model_copy(update={"answers": (answer,)})
    return settled(desired(pin(), targets=(EDGE,), adapters=(lora(),)), seen, STANDS["mine"], {}).plan  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------ attached, not readable


@pytest.mark.parametrize("code", ["not-found", "unreachable", "unauthorised", "gated", "not-installable", "corrupt"])
def test_what_cannot_be_read_any_more_stays_and_is_told(code: str) -> None:
    plan = unread(code)
    row = row_of(plan)
    assert (plan.in_sync, plan.changes, row.reason, row.hint) == (True, (), Reason.UNAVAILABLE, "put it back")
    assert codes(row) == ["served_unverified"]
    (told,) = [line for line in plan.warnings if line.startswith("adapter/sql: ")]
    assert "/r is not there" in told
    assert told.endswith("; put it back")


def test_offline_it_was_not_asked_which_is_no_warning() -> None:
    plan = unread("offline")
    assert (plan.in_sync, row_of(plan).reason, codes(row_of(plan)), plan.warnings) == (True, Reason.IN_SYNC, [], ())


@pytest.mark.parametrize("code", ["not-found", "unreachable", "gated", "corrupt"])
def test_what_to_do_is_said_where_whoever_failed_did_not(code: str) -> None:
    assert row_of(unread(code, hint=None)).hint


def test_what_drifted_or_is_gone_and_cannot_be_read_is_blocked() -> None:
    for served in ([], [serves(scale=0.5)], [serves(on=BETA)]):
        plan = planned(lora(), **{**STANDS, "served": served}, says={"sql": "nobody answers"}).plan
        assert (plan.changes, why(plan.blocked)) == ((), [("sql", "unavailable")])
        assert row_of(plan).hint


def test_on_another_base_than_now_it_is_not_said_to_be_as_the_file_asks() -> None:
    slots = (pin(), pin(BETA, name="chat"))
    told = {**STANDS, "models": [there(), there(BETA)]}
    plan = planned(lora(base="chat"), slots=slots, **told, says={"sql": "nobody answers"}).plan
    assert (why(plan.blocked), why(plan.changes)) == ([("sql", "unavailable")], [])


# ------------------------------------------------------------------------------------------------ somebody else's


def by_hand(**changes: object) -> ServedAdapter:
    return serves(digest=None, path="/adapters/sql").model_copy(update=changes)


def foreign(served: ServedAdapter, **more: object) -> Plan:
    return planned(lora(), models=[there()], served=[served], mine=record(ours()), **more).plan


def test_what_somebody_loaded_from_our_source_need_not_be_what_stands_there_now() -> None:
    plan = foreign(by_hand())
    row = row_of(plan)
    assert (plan.in_sync, row.reason, row.ours, codes(row)) == (
        True,
        Reason.UNMANAGED_MATCH,
        False,
        ["content_unknown"],
    )
    assert "what stood at /adapters/sql when it was loaded" in row.message
    assert "localmodels adopt adapter/sql" in (row.hint or "")
    assert "start the server anew" in (row_of(foreign(by_hand(), look_changes={"takes_adapters": None})).hint or "")


def test_settings_that_are_not_ours_are_taken_out_and_not_adopted() -> None:
    hint = row_of(foreign(by_hand(foreign=True))).hint or ""
    assert hint == "take its section out there, and the next apply attaches what stands there now"


def test_what_somebody_wrote_into_a_section_of_ours_is_told() -> None:
    amiss = "its section says `lora-scaled = x:abc`, which is no FILE:SCALE"
    row = row_of(planned(lora(), **{**STANDS, "served": [serves(path=None, digest=None, amiss=amiss)]}).plan)
    assert (row.reason, row.message) == (Reason.DRIFTED, amiss)


def test_what_is_known_to_be_the_same_is_told_without_doubt() -> None:
    row = row_of(foreign(serves()))
    assert (row.reason, row.message, codes(row)) == (
        Reason.UNMANAGED_MATCH, "it is served already, and somebody else attached it", [],
    )  # fmt: skip
    unsaid = row_of(foreign(by_hand(path=None), look_changes={"takes_adapters": None}))
    assert (unsaid.reason, codes(unsaid)) == (Reason.UNMANAGED_MATCH, ["content_unknown"])


def test_what_is_not_known_to_be_from_our_source_or_on_our_base_is_another() -> None:
    for served in (by_hand(path=None), by_hand(base=base_name(BETA)), serves(on=BETA)):
        plan = foreign(served)
        assert (plan.changes, why(plan.blocked)) == ((), [("sql", "unmanaged-conflict")])


def test_a_match_at_another_scale_than_the_file_asks_for_is_told() -> None:
    row = row_of(foreign(serves(scale=0.8)))
    said = "it is served already, and somebody else attached it at scale 0.8, and the file asks for 1"
    assert (row.reason, row.message) == (Reason.UNMANAGED_MATCH, said)
    assert row_of(foreign(serves(scale=None))).message == "it is served already, and somebody else attached it"


NEW_CONTENT = "; and its source holds other content than was attached, which takes its place"


@pytest.mark.parametrize(
    ("now", "drifted", "alone"),
    [
        (serves(scale=0.5), "it is served at scale 0.5 instead of 1", ""),
        (serves(damaged=True), "our copy that its server reads was damaged, or is gone", ": it is made again"),
    ],
    ids=["scale", "damaged"],
)
def test_a_drift_and_new_content_are_both_told(now: ServedAdapter, drifted: str, alone: str) -> None:
    same = row_of(planned(lora(), **{**STANDS, "served": [now]}).plan)
    assert (same.reason, same.message) == (Reason.DRIFTED, drifted + alone)
    both = row_of(planned(lora(), **{**STANDS, "served": [now]}, says={"sql": verdict("sql 2")}).plan)
    assert (both.reason, both.message) == (Reason.DRIFTED, drifted + NEW_CONTENT)


# ------------------------------------------------------------------------------------------------ what to do


def test_nothing_is_said_to_stay_that_is_not_served() -> None:
    gone = {**STANDS, "served": []}
    old = verdict("sql 2", unpromoted=(error("old"),))
    plans = [
        planned(lora(), **gone, says={"sql": verdict("sql 2", error())}).plan,
        planned(lora(gate=Gate(receipt="/r.json")), **gone, says={"sql": old}).plan,
    ]
    assert [row_of(plan).message for plan in plans] == ["it has 4 layers, its base has 32", "old"]


def test_a_base_that_is_a_slot_without_a_model_is_explained_by_the_slot() -> None:
    slot = Slot(name="coder")
    row = row_of(planned(lora(), slots=(slot,), pool=pool(disk_budget=Bytes(GB))).plan)
    assert (row.reason, row.message) == (Reason.BASE_MISSING, "its base is not on edge: nothing there is coder")
    assert row.hint == "`localmodels explain coder` says what becomes of it"


def test_each_way_to_be_blocked_says_what_to_do(snapshot: object) -> None:
    hub = AdapterSource(repo="acme/sql", revision="v1")
    model = there(BETA).model_copy(update={"name": "sql", "repo": None})
    mine = {"models": [there()], "mine": record(ours())}
    away = desired(pin(), targets=(EDGE,), adapters=(lora(),))
    silent = UnknownTarget(name="edge", key=EDGE.key, reason="connection refused")
    plans = {
        "rejected": planned(lora(), says={"sql": verdict("sql 1", error())}).plan,
        "rejected while attached": planned(lora(), **STANDS, says={"sql": verdict("sql 2", error())}).plan,
        "not promoted": planned(
            lora(gate=Gate(receipt="/r.json")), **STANDS, says={"sql": verdict("sql 2", unpromoted=(error("old"),))}
        ).plan,
        "unavailable": planned(lora(), says={"sql": "refused"}).plan,
        "organisation": planned(lora(source=AdapterSource(repo="evil/sql", revision="v1"))).plan,
        "never": planned(lora(source=hub), pool=pool(never=("acme/sql",))).plan,
        "taken by a model": planned(lora(), models=[there(), model], mine=record(ours())).plan,
        "taken by another": foreign(serves(content="theirs", path="/theirs/a.gguf")),
        "slot without a model": planned(lora(), pool=pool(disk_budget=Bytes(GB))).plan,
        "no such model": planned(lora(base="acme/beta-1b-GGUF")).plan,
        "no room": planned(lora(), **mine, pool=pool(disk_budget=Bytes(5 * GB))).plan,
        "cannot be told": planned(lora(), **mine, look_changes={"takes_adapters": None}).plan,
        "cannot be told to let go": planned(**STANDS, look_changes={"takes_adapters": None}).plan,
        "unknown target": settled(away, observation(known(), silent), record(), {}).plan,
    }
    rows = {name: [row for row in plan.blocked if row.adapter is not None] for name, plan in plans.items()}
    assert [name for name, found in rows.items() if len(found) != 1] == []
    told = [
        f"{name}: {row.reason.value}\n  {row.message}\n  hint: {row.hint}\n  run: {row.command}"
        for name, (row,) in rows.items()
    ]
    assert "\n".join(told) == snapshot
    assert all(row.hint or row.command for (row,) in rows.values())


# ------------------------------------------------------------------------------------------------ for any input


NAMES = ("a", "b")
FINDINGS = st.sampled_from([error("wide"), error("deep").model_copy(update={"hint": "train it again"})])


@st.composite
def verdicts(draw: st.DrawFn, name: str) -> AdapterVerdict | str:
    if draw(st.booleans()) and draw(st.booleans()):
        return "nobody answers"
    content = draw(st.sampled_from([f"{name} 1", f"{name} 2"]))
    found = draw(st.lists(FINDINGS, max_size=5))
    return verdict(
        content,
        *(found if draw(st.booleans()) else ()),
        unpromoted=tuple(found) if draw(st.booleans()) else (),
        rank=draw(st.sampled_from([None, 4, 16, 64, 512])),
    )


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Plan, tuple[RecordAdapter, ...]]:
    limit = draw(st.sampled_from([None, 8, 64]))
    vllm = Target(
        name="edge", runtime="advisory", program="vllm", endpoint="http://h:1", is_asked=True, max_lora_rank=limit
    )
    target = draw(st.sampled_from([EDGE, vllm]))
    gate = st.sampled_from([None, "block", "warn", "serve-as-candidate"])
    adapters, served, mine = [], [], []
    for name in NAMES:
        missing = draw(gate)
        adapters.append(
            lora(
                name,
                base=draw(st.sampled_from(["coder", "coder", "acme/beta-1b-GGUF"])),
                gate=Gate(receipt="/r", on_missing=missing) if missing else None,
                on_base_change=draw(st.sampled_from(["hold", "drop", "follow"])),
                serve=(AdapterServing(target="edge", name=name),),
            )
        )
        there_now = draw(st.sampled_from(["nothing", "ours", "drifted", "theirs", "by hand", "gone"]))
        if there_now in ("ours", "drifted", "gone"):
            mine.append(recorded(name, f"{name} 1", target_key=target.key))
        seen = {
            "ours": serves(name, f"{name} 1"),
            "drifted": serves(name, f"{name} 1", scale=0.5),
            "theirs": serves(name, "theirs", path="/theirs"),
            "by hand": serves(name, digest=None, path=f"/adapters/{name}"),
        }.get(there_now)
        served += [seen] if seen is not None else []
    plan = planned(
        *adapters,
        models=[there()],
        served=served,
        mine=record(ours(target_key=target.key), adapters=tuple(mine)),
        says={name: draw(verdicts(name)) for name in NAMES},
        target=target,
        look_changes={"takes_adapters": draw(st.sampled_from([None, "gguf"]))},
    ).plan
    return plan, tuple(mine)


@given(worlds())
def test_every_blocked_adapter_says_what_to_do_and_every_doubt_is_told(
    made: tuple[Plan, tuple[RecordAdapter, ...]],
) -> None:
    plan, mine = made
    rows = (*plan.changes, *plan.kept, *plan.held, *plan.deferred, *plan.blocked)
    for row in (row for row in rows if row.adapter is not None):
        assert row not in plan.blocked or row.hint or row.command
        doubts = [one for one in row.adapter.findings if one.code == "served_unverified"] if row.adapter else []
        assert (row in plan.kept and row.reason is Reason.UNAVAILABLE) == bool(doubts)
        for one in doubts:
            assert f"adapter/{row.adapter.adapter}: {one.message}; {one.hint}" in plan.warnings  # type: ignore[union-attr]
    told = {row.adapter.name for row in rows if row.adapter is not None}
    assert {one.name for one in mine} <= told, "nothing of ours is passed over"
    assert all(one.severity != "error" for row in rows if row.adapter for one in row.adapter.findings)


def test_where_its_preset_cannot_be_written_the_row_has_the_lines() -> None:
    told = {"takes_adapters": None, "why_no_adapters": "its preset file /etc/models.ini cannot be written from here"}
    plan = planned(lora(), models=[there()], mine=record(ours()), look_changes=told).plan
    (row,) = [row for row in plan.blocked if row.adapter]
    assert row.reason is Reason.NO_API
    assert (row.message or "").startswith("edge can be given no adapters: its preset file /etc/models.ini cannot be")
    assert (row.hint or "").split("\n        ")[1:] == [
        "[sql]", f"hf-repo = {base_name(ALPHA)}", "offline = true", "lora-scaled = /adapters/sql:1.0"
    ]  # fmt: skip
    assert row.command is None
