"""Stable names: made, moved and removed as rows of their own, each in its place, and never taken from anybody."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as some

from reconciler.domain.desired import Slot, Target
from reconciler.domain.observation import Alias, Installed, Observation
from reconciler.domain.plan import Action, Plan, Reason, Row
from reconciler.domain.record import Record, RecordAlias
from reconciler.domain.units import GB, Bytes
from reconciler.planning.make_plan import make_plan
from tests.builders import (
    NOW,
    after,
    answered,
    artifact,
    catalogue,
    desired,
    entry,
    installed,
    model,
    observation,
    observed,
    pool,
    record,
    settled,
    store_name,
    target,
)

NAMES = ("acme/alpha-1b", "acme/beta-1b", "acme/gamma-1b")
ALPHA, BETA, GAMMA = (artifact(f"{name}-GGUF") for name in NAMES)
KNOWN = catalogue(*(model(name, params=1_000_000_000) for name in NAMES))
HERE = target()
OLLAMA = Target(name="local", runtime="ollama", endpoint="http://127.0.0.1:11434")


def pin(model_id: str, *, name: str = "coding", alias: str | None = "coder", **changes: object) -> Slot:
    return Slot(name=name, alias=alias, model=model_id, quant="Q4_K_M").model_copy(update=changes)


def name_on(found: object, on: Target) -> str:
    name = store_name(found)  # type: ignore[arg-type]
    return name if on.runtime == "store" else f"hf.co/{found.repo}:Q4_K_M"  # type: ignore[attr-defined]


def there(found: object, on: Target = HERE, **changes: object) -> Installed:
    return installed(found, name=name_on(found, on), **changes)  # type: ignore[arg-type]


def ours(found: object, model_id: str, *slots: str, on: Target = HERE):
    update = {"name": name_on(found, on), "target_key": on.key}
    return entry(found, *slots, model_id=model_id).model_copy(update=update)  # type: ignore[arg-type]


def kept(name: str, found: object, on: Target = HERE, **changes: object) -> RecordAlias:
    base = RecordAlias(target_key=on.key, target_name=on.name, name=name, model=name_on(found, on), made_at=NOW)
    return base.model_copy(update=changes)


def stands(name: str, found: object, on: Target = HERE, **changes: object) -> Alias:
    return Alias(name=name, model=name_on(found, on)).model_copy(update=changes)


def world(models: Iterable[Installed], aliases: Iterable[Alias] = (), on: Target = HERE) -> Observation:
    where = observed(*models, name=on.name, key=on.key)
    return observation(KNOWN, where.model_copy(update={"aliases": tuple(aliases)}))


def planned(
    *slots: Slot,
    models: Iterable[Installed] = (),
    aliases: Iterable[Alias] = (),
    known: Record | None = None,
    on: Target = HERE,
    **changes: object,
) -> Plan:
    seen, known = world(models, aliases, on), known or record()
    want = desired(*slots, targets=(on,), **changes)
    return settled(want, seen, known)


def said(rows: Iterable[Row]) -> list[str]:
    """Each row in a word: ``install NAME``, ``coder -> NAME``, ``coder goes``."""
    found = []
    for row in rows:
        short = row.name.rpartition("/")[2].partition("-")[0]
        if row.alias is None:
            found.append(f"{row.action.value} {short}")
        else:
            to = row.alias.after
            short = to.rpartition("/")[2].partition("-")[0] if to else ""
            found.append(f"{row.alias.name} -> {short}" if to else f"{row.alias.name} goes")
    return found


SWAP = {
    "models": [there(ALPHA)],
    "aliases": [stands("coder", ALPHA)],
    "known": record(ours(ALPHA, NAMES[0], "slot/coding[0]"), aliases=(kept("coder", ALPHA),)),
}


def test_a_name_is_made_once_its_model_is_there() -> None:
    plan = planned(pin(NAMES[0]))
    assert said(plan.changes) == ["install alpha", "coder -> alpha"]
    row = plan.changes[1]
    assert (row.action, row.reason, row.bytes_down, row.slots) == (Action.UPDATE, Reason.ALIAS, 0, ("slot/coding[0]",))
    assert (plan.summary.install, plan.summary.update, plan.summary.named) == (1, 0, 1)
    assert plan.applicable


def test_a_name_moves_after_the_new_model_comes_and_before_the_old_one_goes() -> None:
    assert said(planned(pin(NAMES[1]), **SWAP).changes) == ["install beta", "coder -> beta", "evict alpha"]


def test_with_a_gap_the_name_goes_with_the_old_model_and_says_so() -> None:
    plan = planned(pin(NAMES[1]), **SWAP, pool=pool(disk_budget=Bytes(6 * GB), allow_gap=True))
    assert said(plan.changes) == ["coder goes", "evict alpha", "install beta", "coder -> beta"]
    assert "stands for nothing until" in plan.changes[0].message


def test_without_room_to_swap_the_name_stays_with_the_old_model() -> None:
    plan = planned(pin(NAMES[1]), **SWAP, pool=pool(disk_budget=Bytes(6 * GB)))
    assert said(plan.changes) == []
    assert [row.reason for row in plan.blocked] == [Reason.NO_ROOM_TO_SWAP]


def test_what_stands_is_in_sync() -> None:
    assert planned(pin(NAMES[0]), **SWAP).in_sync


def test_a_name_that_nobody_asks_for_goes_before_its_model() -> None:
    plan = planned(**SWAP, fuses=desired().fuses.model_copy(update={"allow_empty": True}))
    assert said(plan.changes) == ["coder goes", "evict alpha"]


def test_a_slot_that_gives_up_its_name_keeps_its_model() -> None:
    assert said(planned(pin(NAMES[0], alias=None), **SWAP).changes) == ["coder goes"]


def test_a_name_that_is_gone_and_not_asked_for_is_forgotten() -> None:
    (row,) = planned(pin(NAMES[0], alias=None), **{**SWAP, "aliases": []}).changes
    assert (row.action, row.reason, row.alias and row.alias.name) == (Action.FORGET, Reason.GONE, "coder")


def test_a_name_that_somebody_moved_or_removed_comes_back() -> None:
    both = [there(ALPHA), there(BETA)]
    moved = planned(pin(NAMES[0]), **{**SWAP, "models": both, "aliases": [stands("coder", BETA)]})
    assert said(moved.changes) == ["coder -> alpha"]
    assert "somebody moved it" in moved.changes[0].message
    gone = planned(pin(NAMES[0]), **{**SWAP, "aliases": []})
    assert said(gone.changes) == ["coder -> alpha"]
    assert "someone removed it" in gone.changes[0].message


def test_a_name_somebody_else_made_is_never_taken_and_the_rest_goes_on() -> None:
    plan = planned(pin(NAMES[0]), models=[there(BETA)], aliases=[stands("coder", BETA)])
    assert said(plan.changes) == ["install alpha"]
    (row,) = plan.blocked
    assert (row.reason, row.alias and row.alias.name) == (Reason.UNMANAGED_CONFLICT, "coder")


def test_a_name_that_stands_as_asked_and_is_not_ours_is_told_and_left() -> None:
    plan = planned(pin(NAMES[0]), models=[there(ALPHA)], aliases=[stands("coder", ALPHA)])
    assert plan.in_sync
    assert any("somebody else made it" in warning for warning in plan.warnings)


def test_a_model_that_is_not_ours_can_be_named() -> None:
    plan = planned(pin(NAMES[0]), models=[there(ALPHA)])
    assert said(plan.changes) == ["coder -> alpha"]
    assert [row.reason for row in plan.kept] == [Reason.UNMANAGED_MATCH]


def test_two_slots_may_name_one_model_twice() -> None:
    slots = (pin(NAMES[0]), pin(NAMES[0], name="chat", alias="chatty"))
    assert said(planned(*slots).changes) == ["install alpha", "coder -> alpha", "chatty -> alpha"]


def test_a_name_in_use_waits_and_so_does_the_model_under_it() -> None:
    plan = planned(pin(NAMES[1]), **{**SWAP, "aliases": [stands("coder", ALPHA, loaded=True)]})
    assert said(plan.changes) == ["install beta"]
    assert sorted((row.reason, row.alias is not None) for row in plan.deferred) == [
        (Reason.IN_USE, False),
        (Reason.IN_USE, True),
    ]


def test_a_file_under_the_name_is_a_conflict() -> None:
    file = Installed(name="aliases/coder.gguf", bytes=Bytes(1), stamp="s")
    plan = planned(pin(NAMES[0]), models=[there(ALPHA), file])
    assert [row.reason for row in plan.blocked] == [Reason.UNMANAGED_CONFLICT]


def test_a_folder_under_the_name_is_a_conflict_even_where_the_name_was_ours() -> None:
    folder = Alias(name="coder", foreign=True, taken_by="the folder aliases/coder")
    for known in (None, record(ours(ALPHA, NAMES[0], "slot/coding[0]"), aliases=(kept("coder", ALPHA),))):
        plan = planned(pin(NAMES[0]), models=[there(ALPHA)], aliases=[folder], known=known)
        assert (said(plan.changes), [row.reason for row in plan.blocked]) == ([], [Reason.UNMANAGED_CONFLICT])
        assert "taken by the folder aliases/coder" in plan.blocked[0].message


def test_a_new_spelling_goes_the_old_way_first() -> None:
    assert said(planned(pin(NAMES[0], alias="Coder"), **SWAP).changes) == ["coder goes", "Coder -> alpha"]


def test_a_slot_that_nothing_fills_keeps_its_name_while_the_model_stays() -> None:
    slot, fuses = Slot(name="coding", alias="coder"), desired().fuses.model_copy(update={"allow_empty": True})
    stays = planned(slot, **SWAP, pool=pool(never=("acme/*",), keep=("*alpha*",)))
    assert (said(stays.changes), len(stays.unfilled)) == ([], 1)
    goes = planned(slot, **SWAP, pool=pool(never=("acme/*",)), fuses=fuses)
    assert (said(goes.changes), len(goes.unfilled)) == (["coder goes", "evict alpha"], 1)


def test_an_advisory_target_has_the_name_in_its_command() -> None:
    plan = planned(pin(NAMES[0]), on=Target(name="local", runtime="advisory", program="llama-server"))
    assert str(plan.blocked[0].command).endswith(" --alias coder")
    lms = planned(pin(NAMES[0]), on=Target(name="local", runtime="advisory", program="lms"))
    assert "--identifier coder" in lms.blocked[0].message


def test_a_llama_server_without_its_preset_file_says_what_it_lacks() -> None:
    router = Target(name="local", runtime="llama-server", endpoint="http://127.0.0.1:8080")
    (row,) = planned(pin(NAMES[0]), on=router).blocked
    assert (row.reason, "preset: FILE" in row.message) == (Reason.NO_API, True)
    told = planned(pin(NAMES[0]), on=router.model_copy(update={"preset": "/p.ini"}))
    assert said(told.changes) == ["install alpha", "coder -> alpha"]


# ------------------------------------------------------------------------------------------------ on an Ollama

LISTED = Installed(name="coder:latest", bytes=Bytes(5 * GB), digest="d1", repo=ALPHA.repo, quant="Q4_K_M")
NAMED = {
    "models": [there(ALPHA, OLLAMA), LISTED],
    "aliases": [stands("coder:latest", ALPHA, OLLAMA, digest="d1", context=4096)],
    "known": record(
        ours(ALPHA, NAMES[0], "slot/coding[0]", on=OLLAMA), aliases=(kept("coder", ALPHA, OLLAMA, digest="d1"),)
    ),
    "on": OLLAMA,
}


def test_a_name_that_is_listed_as_a_model_is_none() -> None:
    plan = planned(pin(NAMES[0]), **NAMED)
    assert plan.in_sync
    assert plan.budgets[0].used_bytes == ALPHA.bytes
    gone = planned(**NAMED, fuses=desired().fuses.model_copy(update={"allow_empty": True}))
    assert said(gone.changes) == ["coder goes", "evict alpha"]


def test_a_name_moves_with_the_context_of_its_slot() -> None:
    (row,) = planned(pin(NAMES[0], context=8192), **NAMED).changes
    assert (row.alias and row.alias.context, "8,192 tokens instead of 4,096" in row.message) == (8192, True)


def test_a_name_whose_content_somebody_changed_is_moved_back() -> None:
    changed = {**NAMED, "aliases": [stands("coder", ALPHA, OLLAMA, digest="d2", context=4096)]}
    (row,) = planned(pin(NAMES[0]), **changed).changes
    assert "somebody changed it" in row.message


def test_a_model_that_took_the_place_of_a_name_is_not_ours() -> None:
    plan = planned(pin(NAMES[0]), **{**NAMED, "aliases": []})
    assert said(plan.changes) == []
    (row,) = plan.blocked
    assert (row.reason, row.command) == (Reason.UNMANAGED_CONFLICT, "ollama rm coder")
    assert "it was ours" in row.message


# ------------------------------------------------------------------------------------------------ whatever is asked

WANTED = some.lists(
    some.tuples(some.sampled_from(NAMES), some.sampled_from((None, "one", "two", "three"))), max_size=3
).filter(lambda slots: len({alias for _, alias in slots if alias}) == sum(1 for _, alias in slots if alias))


@given(some.lists(WANTED, min_size=1, max_size=4), some.sampled_from((HERE, OLLAMA)), some.booleans(), some.booleans())
def test_whatever_follows_on_whatever(steps: list[list[tuple[str, str | None]]], on: Target, tight: bool, gap: bool):
    seen, known = world([], on=on), record()
    for step in steps:
        slots = [pin(name, name=f"s{index}", alias=alias) for index, (name, alias) in enumerate(step)]
        budget = Bytes((6 if tight else 60) * GB)
        fuses = desired().fuses.model_copy(update={"allow_empty": True, "max_evictions": 99, "max_evict_share": 1.0})
        want = desired(*slots, targets=(on,), pool=pool(disk_budget=budget, allow_gap=gap), fuses=fuses)
        seen = answered(make_plan(want, seen, known), seen)
        plan = make_plan(want, seen, known)
        never_dangling(plan, known)
        seen, known = after(plan, seen, known)  # refuses a name of a model that is not there when its row runs
        again = make_plan(want, seen, known)
        assert [row for row in again.changes if row.alias is not None] == []
        assert len(known.aliases) == len(seen.targets[0].aliases)  # type: ignore[union-attr]
        there_now = {model.name for model in seen.targets[0].installed}  # type: ignore[union-attr]
        assert all(alias.model in there_now for alias in known.aliases)


def never_dangling(plan: Plan, known: Record) -> None:
    """No model goes while a name of ours still stands for it."""
    names = {alias.name: alias.model for alias in known.aliases}
    for row in plan.changes:
        if row.alias is not None:
            names.pop(row.alias.name, None)
            if row.alias.after is not None:
                names[row.alias.name] = row.alias.after
        assert row.action is not Action.EVICT or row.name not in names.values()


def test_what_a_conflict_would_have_replaced_stays_and_so_does_its_name() -> None:
    theirs = there(BETA, digest="0" * 64)
    plan = planned(pin(NAMES[1]), **{**SWAP, "models": [there(ALPHA), theirs]})
    assert said(plan.changes) == []
    assert {row.reason for row in plan.blocked} == {Reason.UNMANAGED_CONFLICT}
    assert [row.reason for row in plan.kept] == [Reason.REPLACEMENT_BLOCKED]
