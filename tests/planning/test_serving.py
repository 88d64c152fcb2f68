"""A llama-server: what its models are called, which builds it can be asked for, and how it is told to serve them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.domain.desired import Slot, Target
from reconciler.domain.observation import Installed, Serving
from reconciler.domain.plan import Action, Plan, Reason
from reconciler.planning.make_plan import make_plan
from tests.builders import artifact, catalogue, desired, entry, installed, model, observation, observed, record, settled

SMALL = "acme/coyote-8b-instruct"
MINE = artifact(f"{SMALL}-GGUF")
NAME = f"{SMALL}-GGUF:Q4_K_M"
ROUTER = Target(name="router", runtime="llama-server", endpoint="http://127.0.0.1:8080", preset="/presets.ini")
PIN = Slot(name="chat", model=SMALL, quant="Q4_K_M", context=8192)


def planned(*slots: Slot, there: Installed | None = None, on: Target = ROUTER) -> Plan:
    seen = observation(catalogue(model(SMALL)), observed(*([there] if there else ()), name=on.name, key=on.key))
    ours = entry(MINE, *(f"slot/{slot.name}[0]" for slot in slots), model_id=SMALL)
    update = {"name": NAME, "target_key": on.key, "target_name": on.name}
    known = record(*([ours.model_copy(update=update)] if there else ()), applied_digest="d1")
    want = desired(*slots, targets=(on,))
    return settled(want, seen, known)


def standing(**changes: object) -> Installed:
    return installed(MINE, name=NAME, **changes)


def test_an_install_says_how_it_is_to_be_served() -> None:
    (row,) = planned(PIN.model_copy(update={"parallel": 2, "kv_cache": "q8_0"})).changes
    assert (row.action, row.name) == (Action.INSTALL, NAME)
    assert row.serving == Serving(context=8192, parallel=2, kv_cache="q8_0")


def test_slots_that_share_a_model_are_all_served() -> None:
    more = PIN.model_copy(update={"name": "long", "context": 16384})
    (row,) = planned(PIN.model_copy(update={"parallel": 3}), more).changes
    assert row.serving == Serving(context=16384, parallel=3)


def test_what_it_is_told_otherwise_is_a_row_that_fetches_nothing() -> None:
    plan = planned(PIN, there=standing(serving=Serving(context=512), serving_is_ours=True))
    (row,) = plan.changes
    assert (row.action, row.reason, row.only_serves) == (Action.UPDATE, Reason.SERVING, True)
    assert (row.bytes_down, row.bytes_freed, row.artifact) == (0, 0, None)
    assert plan.applicable
    assert plan.budgets[0].after_bytes == plan.budgets[0].peak_bytes == MINE.bytes
    assert [kept.reason for kept in plan.kept] == [Reason.IN_SYNC]


def test_what_is_told_already_is_in_sync() -> None:
    assert planned(PIN, there=standing(serving=Serving(context=8192), serving_is_ours=True)).in_sync


def test_a_section_of_somebody_else_is_told_of_and_left_alone() -> None:
    plan = planned(PIN, there=standing(serving=Serving(context=512), serving_is_ours=False, model_context=512))
    assert plan.in_sync
    assert any("serves 512 tokens, the slot asks 8192" in said and "not ours" in said for said in plan.warnings)


def test_without_a_preset_file_nothing_is_told_and_the_plan_says_how() -> None:
    plan = planned(PIN, there=standing(), on=ROUTER.model_copy(update={"preset": None}))
    assert plan.in_sync
    assert any("write `preset: FILE` at the target" in said for said in plan.warnings)


def test_a_target_that_cannot_be_told_has_nothing_of_it() -> None:
    (row,) = planned(PIN, on=Target(name="local", path="/models")).changes
    assert row.serving is None


@pytest.mark.parametrize("files", [("coyote-UD-Q4_K_M.gguf",), ()])
def test_a_build_that_goes_by_anothers_name_is_not_asked_for(files: tuple[str, ...]) -> None:
    known = model(SMALL)
    repo = known.repositories[0]
    builds = tuple(replace(build, files=files, quant="UD-Q4_K_M") for build in repo.builds[:1])
    only = replace(known, repositories=(replace(repo, builds=builds),))
    seen = observation(catalogue(only), observed(name="router", key=ROUTER.key))
    plan = make_plan(desired(Slot(name="chat"), targets=(ROUTER,)), seen, record())
    assert plan.changes == ()
    assert "another build's name" in (plan.unfilled[0].evidence.nearest or "")
