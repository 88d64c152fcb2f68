"""The plan of small worlds: what changes, why, and what does not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.domain.desired import DesiredState, Fuses, Refresh, Slot
from reconciler.domain.observation import (
    DigestNeed,
    HubNeed,
    Installed,
    Observation,
    RegistryNeed,
    Resolved,
    Unavailable,
    UnknownTarget,
)
from reconciler.domain.plan import Action, Overrides, Reason
from reconciler.domain.record import Record
from reconciler.domain.units import GB, Bytes
from reconciler.planning.make_plan import make_plan
from reconciler.planning.upstream import upstream_needs
from tests.builders import (
    after,
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
    scaled,
    settled,
    target,
)

SMALL, BIG = "acme/coyote-8b-instruct", "acme/wolf-20b-instruct"
CHAT = Slot(name="chat")


def two_models(small: float = 50, big: float = 60) -> object:
    return catalogue(model(SMALL), model(BIG, size_gb=12, params=20_000_000_000), scores={SMALL: small, BIG: big})


def rows(found: tuple[object, ...]) -> list[tuple[str, str, str]]:
    return [(row.action.value, row.reason.value, row.model_id) for row in found]  # type: ignore[attr-defined]


class TestEmptySlot:
    def test_the_best_that_fits_is_wanted_and_asked_about(self) -> None:
        plan = make_plan(desired(CHAT), observation(two_models()), record())
        assert rows(plan.changes) == [("install", "missing", BIG)]
        assert plan.needs == (HubNeed(repo=f"{BIG}-GGUF", quant="Q4_K_M"),)
        assert not plan.applicable
        assert not plan.changes[0].resolved

    def test_an_answer_makes_it_applicable_with_commit_and_digest(self) -> None:
        plan = settled(desired(CHAT), observation(two_models()), record())
        row = plan.changes[0]
        assert plan.applicable
        assert row.resolved
        assert row.artifact == artifact(f"{BIG}-GGUF", size=12 * GB)
        assert row.name == f"{BIG}-GGUF/wolf-20b-instruct-Q4_K_M.gguf"

    def test_a_pick_that_is_gone_gives_way_to_the_runner_up(self) -> None:
        gone = Unavailable(need=HubNeed(repo=f"{BIG}-GGUF", quant="Q4_K_M"), code="not-found", message="gone")
        plan = settled(desired(CHAT), observation(two_models(), answers=(gone,)), record())
        assert rows(plan.changes) == [("install", "missing", SMALL)]

    def test_an_outage_does_not_change_the_pick(self) -> None:
        down = Unavailable(need=HubNeed(repo=f"{BIG}-GGUF", quant="Q4_K_M"), code="unreachable", message="down")
        plan = make_plan(desired(CHAT), observation(two_models(), answers=(down,)), record())
        assert rows(plan.changes) == [("install", "missing", BIG)]
        assert not plan.applicable
        assert not plan.needs

    def test_offline_leaves_the_row_unresolved(self) -> None:
        plan = make_plan(desired(CHAT), observation(two_models(), offline=True), record())
        assert not plan.applicable
        assert not plan.needs
        assert not plan.changes[0].resolved

    def test_nothing_allowed_says_so(self) -> None:
        plan = make_plan(desired(CHAT, pool=pool(allowed_orgs=("other",))), observation(two_models()), record())
        assert plan.unfilled[0].reason is Reason.NOTHING_ALLOWED

    def test_nothing_fits_names_the_nearest_miss(self) -> None:
        huge = catalogue(model(BIG, size_gb=200, params=400_000_000_000))
        plan = make_plan(desired(CHAT, pool=pool(disk_budget=Bytes(900 * GB))), observation(huge), record())
        assert plan.unfilled[0].reason is Reason.NOTHING_FITS
        assert "needs" in (plan.unfilled[0].evidence.nearest or "")

    def test_a_budget_too_small_is_unfilled_with_the_missing_bytes(self) -> None:
        plan = make_plan(desired(CHAT, pool=pool(disk_budget=Bytes(1 * GB))), observation(two_models()), record())
        assert plan.unfilled[0].evidence.missing_bytes == 4 * GB

    def test_a_pick_leaves_room_for_later_slots(self) -> None:
        vision = model("acme/owl-4b", line="vision", size_gb=3, capabilities=("vision",))
        known = catalogue(model(SMALL), model(BIG, size_gb=12), vision, scores={SMALL: 50, BIG: 60})
        want = desired(CHAT, Slot(name="eyes", profile="vision"), pool=pool(disk_budget=Bytes(13 * GB)))
        plan = settled(want, observation(known), record())
        assert {row.model_id for row in plan.changes} == {SMALL, "acme/owl-4b"}

    def test_two_slots_share_one_model(self) -> None:
        plan = settled(desired(CHAT, Slot(name="more")), observation(two_models()), record())
        assert plan.changes[0].slots == ("slot/chat[0]", "slot/more[0]")
        assert plan.summary.install == 1

    def test_count_two_means_two_models(self) -> None:
        plan = settled(desired(Slot(name="chat", count=2)), observation(two_models()), record())
        assert {row.model_id for row in plan.changes} == {SMALL, BIG}


class TestIncumbent:
    def world(self, *, small: float, big: float, **changes: object) -> tuple[DesiredState, Observation, Record]:
        mine = artifact(f"{SMALL}-GGUF")
        seen = observation(two_models(small, big), observed(installed(mine)))
        known = record(entry(mine, "slot/chat[0]", model_id=SMALL), applied_digest="d1")
        return desired(CHAT, **changes), seen, known

    def test_in_sync_has_no_changes_and_no_needs(self) -> None:
        plan = make_plan(*self.world(small=60, big=40))
        assert plan.in_sync
        assert not plan.needs
        assert rows(plan.kept) == [("keep", "in-sync", SMALL)]

    def test_a_small_lead_is_held_below_threshold(self) -> None:
        want, seen, known = self.world(small=58, big=60)
        plan = make_plan(want, seen, known)
        assert not plan.changes
        assert [row.reason for row in plan.held] == [Reason.BELOW_THRESHOLD]

    @pytest.mark.parametrize(("lead", "reason"), [(3, Reason.BELOW_THRESHOLD), (9, Reason.APPROVAL_NEEDED)])
    def test_a_lead_over_the_threshold_wins_only_with_the_lower_end_of_its_interval(
        self, lead: float, reason: Reason
    ) -> None:
        """The scores of this world are sure within 5 to 6 points."""
        want, seen, known = self.world(small=50, big=50 + lead, refresh=Refresh(proposal_threshold=1))
        plan = make_plan(want, seen, known)
        assert not plan.changes
        assert [row.reason for row in plan.held] == [reason]

    def test_a_clear_lead_needs_approval(self) -> None:
        want, seen, known = self.world(small=10, big=95, refresh=Refresh(proposal_threshold=1))
        plan = make_plan(want, seen, known)
        assert not plan.changes
        assert [row.reason for row in plan.held] == [Reason.APPROVAL_NEEDED]
        assert "--accept chat" in plan.held[0].message

    @pytest.mark.parametrize("how", ["accept", "auto"])
    def test_an_approved_swap_makes_before_it_breaks(self, how: str) -> None:
        approval = "auto" if how == "auto" else "manual"
        want, seen, known = self.world(small=10, big=95, refresh=Refresh(proposal_threshold=1), approval=approval)
        plan = settled(want, seen, known, Overrides(accept=("chat",) if how == "accept" else ()))
        assert rows(plan.changes) == [("install", "outranked", BIG), ("evict", "replaced", SMALL)]

    def test_a_swap_without_room_is_blocked_and_the_old_stays(self) -> None:
        want, seen, known = self.world(
            small=10, big=95, refresh=Refresh(proposal_threshold=1), approval="auto",
            pool=pool(disk_budget=Bytes(14 * GB)),
        )  # fmt: skip
        plan = settled(want, seen, known)
        assert not plan.changes
        assert [row.reason for row in plan.blocked] == [Reason.NO_ROOM_TO_SWAP]
        assert plan.blocked[0].evidence.missing_bytes == 3 * GB
        assert [row.reason for row in plan.kept] == [Reason.REPLACEMENT_BLOCKED]

    def test_allow_gap_lets_the_old_go_first(self) -> None:
        want, seen, known = self.world(
            small=10, big=95, refresh=Refresh(proposal_threshold=1), approval="auto",
            pool=pool(disk_budget=Bytes(14 * GB), allow_gap=True),
        )  # fmt: skip
        plan = settled(want, seen, known)
        assert [(row.action.value, row.gap) for row in plan.changes] == [("evict", True), ("install", True)]

    def test_never_replaces_the_incumbent_unasked(self) -> None:
        want, seen, known = self.world(small=60, big=40, pool=pool(never=(SMALL,)))
        plan = settled(want, seen, known)
        assert rows(plan.changes) == [("install", "ineligible", BIG), ("evict", "replaced", SMALL)]

    @pytest.mark.parametrize("applied", ["d1", None])
    def test_an_incumbent_that_the_world_made_ineligible_stays_until_accepted(self, applied: str | None) -> None:
        want, seen, known = self.world(small=60, big=40)
        known = known.model_copy(update={"applied_digest": applied})
        want = want.model_copy(update={"slots": (Slot(name="chat", capabilities=("tools",)),)})
        plan = make_plan(want, seen, known)
        assert not plan.changes
        assert [row.reason for row in plan.held] == [Reason.APPROVAL_NEEDED]

    def test_a_model_no_source_knows_any_more_is_kept(self) -> None:
        want, seen, known = self.world(small=60, big=40)
        plan = make_plan(want, seen.model_copy(update={"catalogue": catalogue()}), known)
        assert plan.in_sync
        assert rows(plan.kept) == [("keep", "in-sync", SMALL)]

    def test_a_removed_file_is_repaired_from_the_recorded_commit(self) -> None:
        want, seen, known = self.world(small=60, big=40)
        gone = seen.model_copy(update={"targets": (observed(),)})
        plan = make_plan(want, gone, known)
        assert rows(plan.changes) == [("install", "drifted", SMALL)]
        assert plan.changes[0].artifact == artifact(f"{SMALL}-GGUF")
        assert plan.drift[0].kind == "missing"
        assert plan.needs[0].revision == artifact(f"{SMALL}-GGUF").commit  # type: ignore[union-attr]

    def test_other_content_is_updated(self) -> None:
        want, seen, known = self.world(small=60, big=40)
        other = installed(artifact(f"{SMALL}-GGUF"), stamp="s2", digest="f" * 64)
        plan = settled(want, seen.model_copy(update={"targets": (observed(other),)}), known)
        assert rows(plan.changes) == [("update", "drifted", SMALL)]
        assert plan.drift[0].kind == "content-changed"

    def test_a_touched_file_is_read_before_it_is_called_drift(self) -> None:
        want, seen, known = self.world(small=60, big=40)
        touched = installed(artifact(f"{SMALL}-GGUF"), stamp="s2", digest=None)
        seen = seen.model_copy(update={"targets": (observed(touched),)})
        plan = make_plan(want, seen, known)
        assert plan.needs == (DigestNeed(target="local", name=touched.name),)
        same = Resolved(need=plan.needs[0], digest=artifact(f"{SMALL}-GGUF").digest, stamp="s2")
        assert make_plan(want, seen.model_copy(update={"answers": (same,)}), known).in_sync

    def test_upstream_that_moved_is_held_and_followed_only_when_asked(self) -> None:
        want, seen, known = self.world(small=60, big=40)
        moved = Resolved(
            need=HubNeed(repo=f"{SMALL}-GGUF", quant="Q4_K_M"), artifact=artifact(f"{SMALL}-GGUF", content="v2")
        )
        seen = seen.model_copy(update={"answers": (moved,)})
        assert [row.reason for row in make_plan(want, seen, known).held] == [Reason.UPSTREAM_MOVED]
        follow = want.model_copy(update={"slots": (Slot(name="chat", update="follow"),)})
        assert rows(make_plan(follow, seen, known).changes) == [("update", "upstream-moved", SMALL)]


class TestOwnership:
    def test_a_foreign_match_fills_the_slot_and_stays_foreign(self) -> None:
        theirs = installed(artifact(f"{BIG}-GGUF", size=12 * GB))
        plan = make_plan(desired(CHAT), observation(two_models(), observed(theirs)), record())
        assert rows(plan.kept) == [("keep", "unmanaged-match", BIG)]
        assert not plan.changes
        assert not plan.kept[0].ours

    def test_a_foreign_model_nobody_asks_for_is_none_of_our_business(self) -> None:
        theirs = installed(artifact("someone/thing-GGUF"))
        plan = make_plan(desired(), observation(two_models(), observed(theirs)), record())
        assert plan.in_sync
        assert not plan.kept

    def test_a_pin_with_other_content_under_its_name_is_blocked(self) -> None:
        theirs = installed(artifact(f"{SMALL}-GGUF", content="mine"))
        pin = desired(Slot(name="chat", model=SMALL))
        plan = settled(pin, observation(two_models(), observed(theirs)), record())
        assert [row.reason for row in plan.blocked] == [Reason.UNMANAGED_CONFLICT]
        assert "adopt" in (plan.blocked[0].command or "")

    def test_not_desired_is_evicted_only_when_ours(self) -> None:
        mine, theirs = artifact(f"{SMALL}-GGUF"), artifact("someone/thing-GGUF")
        seen = observation(two_models(), observed(installed(mine), installed(theirs)))
        want = desired(fuses=Fuses(allow_empty=True))
        plan = make_plan(want, seen, record(entry(mine, "slot/old[0]", model_id=SMALL)))
        assert [row.name for row in plan.changes] == [installed(mine).name]

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"prune": "never"}, Reason.PRUNE_OFF),
            ({"prune": "pressure"}, Reason.PRUNE_OFF),
            ({"keep": (f"{SMALL}-GGUF*",)}, Reason.KEEP_LISTED),
        ],
    )
    def test_what_prune_and_keep_leave(self, changes: dict[str, object], reason: Reason) -> None:
        mine = artifact(f"{SMALL}-GGUF")
        seen = observation(two_models(), observed(installed(mine)))
        plan = make_plan(desired(pool=pool(**changes)), seen, record(entry(mine, model_id=SMALL)))
        assert not plan.changes
        assert [row.reason for row in plan.kept] == [reason]

    def test_a_model_in_use_is_deferred(self) -> None:
        mine = artifact(f"{SMALL}-GGUF")
        seen = observation(two_models(), observed(installed(mine, loaded=True)))
        plan = make_plan(desired(), seen, record(entry(mine, model_id=SMALL)))
        assert [row.reason for row in plan.deferred] == [Reason.IN_USE]
        assert not plan.changes

    def test_gone_and_not_desired_is_forgotten(self) -> None:
        plan = make_plan(desired(), observation(two_models()), record(entry(artifact(f"{SMALL}-GGUF"), model_id=SMALL)))
        assert rows(plan.changes) == [("forget", "gone", SMALL)]

    def test_an_unknown_target_is_never_pruned(self) -> None:
        mine = artifact(f"{SMALL}-GGUF")
        down = UnknownTarget(name="local", key=target().key, reason="connection refused", hint="start it")
        plan = make_plan(desired(CHAT), observation(two_models(), down), record(entry(mine, model_id=SMALL)))
        assert not plan.changes
        assert any("connection refused (start it)" in warning for warning in plan.warnings), "what to do is said too"
        assert [row.reason for row in plan.blocked] == [Reason.TARGET_UNKNOWN]
        assert "connection refused (start it)" in plan.blocked[0].message

    def test_orphans_of_a_target_that_left_the_file_are_reported(self) -> None:
        lost = entry(artifact(f"{SMALL}-GGUF"), model_id=SMALL, target_key="store|/gone", target_name="gone")
        plan = make_plan(desired(), observation(two_models()), record(lost))
        assert not plan.changes
        assert any("orphaned" in warning for warning in plan.warnings)
        assert [row.reason for row in plan.kept] == [Reason.ORPHANED]

    def test_disabled_changes_nothing_and_says_what_it_would(self) -> None:
        plan = settled(desired(CHAT, enabled=False), observation(two_models()), record())
        assert not plan.changes
        assert [row.reason for row in plan.held] == [Reason.DISABLED]

    @pytest.mark.parametrize("gap", [False, True])
    def test_a_shrunken_budget_makes_a_plan_that_breaks_nothing_without_a_gap(self, gap: bool) -> None:
        mine = artifact(f"{BIG}-GGUF", size=12 * GB)
        seen = observation(two_models(), observed(installed(mine)))
        want = desired(CHAT, pool=pool(disk_budget=Bytes(6 * GB), allow_gap=gap))
        plan = settled(want, seen, record(entry(mine, "slot/chat[0]", model_id=BIG)))
        if gap:
            assert rows(plan.changes) == [("evict", "replaced", BIG), ("install", "ineligible", SMALL)]
            assert all(row.gap for row in plan.changes)
        else:
            assert not plan.changes
            assert [row.reason for row in plan.blocked] == [Reason.NO_ROOM_TO_SWAP]
            assert any("12.0 GB of ours stay" in warning for warning in plan.warnings)

    def test_what_no_budget_holds_and_nothing_replaces_is_evicted_as_over_budget(self) -> None:
        mine = artifact(f"{BIG}-GGUF", size=12 * GB)
        seen = observation(two_models(), observed(installed(mine)))
        want = desired(CHAT, pool=pool(disk_budget=Bytes(1 * GB)))
        plan = settled(want, seen, record(entry(mine, "slot/chat[0]", model_id=BIG)))
        assert rows(plan.changes) == [("evict", "over-budget", BIG)]
        assert [refusal.rule for refusal in plan.refused] == ["fuses.allowEmpty"]


class TestFuses:
    def world(self, count: int) -> tuple[Observation, Record]:
        mine = [artifact(f"acme/m{index}-GGUF", size=GB) for index in range(count)]
        seen = observation(two_models(), observed(*(installed(one) for one in mine)))
        return seen, record(*(entry(one, model_id=f"acme/m{index}") for index, one in enumerate(mine)))

    def test_too_many_losses(self) -> None:
        seen, known = self.world(20)
        plan = settled(desired(CHAT), seen, known)
        assert {one.rule for one in plan.refused} == {"fuses.maxEvictions", "fuses.maxEvictShare"}
        assert not plan.applicable

    def test_an_empty_plan_is_refused_and_can_be_overridden(self) -> None:
        seen, known = self.world(2)
        assert [one.rule for one in make_plan(desired(), seen, known).refused] == ["fuses.allowEmpty"]
        assert not make_plan(desired(), seen, known, overrides=Overrides(allow_evictions=2)).refused

    def test_a_replacement_is_no_loss(self) -> None:
        mine = artifact(f"{SMALL}-GGUF")
        seen = observation(two_models(), observed(installed(mine)))
        known = record(entry(mine, "slot/chat[0]", model_id=SMALL))
        plan = settled(desired(CHAT, pool=pool(never=(SMALL,))), seen, known)
        assert not plan.refused


class TestTrust:
    def test_a_packager_needs_both_halves(self) -> None:
        packaged = catalogue(model(SMALL, repos=("packer/coyote-GGUF",)))
        refused = make_plan(desired(CHAT), observation(packaged), record())
        assert refused.unfilled[0].reason is Reason.NOTHING_ALLOWED
        assert "packager" in (refused.unfilled[0].evidence.nearest or "")
        allowed = make_plan(desired(CHAT, pool=pool(packagers=("packer",))), observation(packaged), record())
        assert rows(allowed.changes) == [("install", "missing", SMALL)]

    @pytest.mark.parametrize(
        "changes", [{"allowed_families": ("wolf",)}, {"allowed_licenses": ("mit",)}, {"never": ("*coyote*",)}]
    )
    def test_families_licences_and_names(self, changes: dict[str, object]) -> None:
        plan = make_plan(desired(CHAT, pool=pool(**changes)), observation(catalogue(model(SMALL))), record())
        assert plan.unfilled

    def test_an_unknown_licence_is_rejected_when_a_list_is_set(self) -> None:
        known = catalogue(replace(model(SMALL), license=None))
        want = desired(CHAT, pool=pool(allowed_licenses=("mit",)))
        assert make_plan(want, observation(known), record()).unfilled


class TestPins:
    def test_a_pin_by_model_id(self) -> None:
        plan = settled(desired(Slot(name="chat", model=SMALL)), observation(two_models()), record())
        assert rows(plan.changes) == [("install", "missing", SMALL)]

    def test_a_pin_by_repository_nobody_knows_is_asked_about(self) -> None:
        plan = make_plan(
            desired(Slot(name="chat", model="acme/new-GGUF", quant="Q8_0")), observation(catalogue()), record()
        )
        assert plan.needs == (HubNeed(repo="acme/new-GGUF", quant="Q8_0"),)
        done = settled(
            desired(Slot(name="chat", model="acme/new-GGUF", quant="Q8_0")), observation(catalogue()), record()
        )
        assert done.applicable
        assert done.changes[0].name == "acme/new-GGUF/new-Q8_0.gguf"

    def test_a_pin_of_a_packager_is_allowed_by_its_claimed_base(self) -> None:
        slot = Slot(name="chat", model="packer/coyote-GGUF", quant="Q8_0")
        want = desired(slot, pool=pool(packagers=("packer",)))
        need = HubNeed(repo="packer/coyote-GGUF", quant="Q8_0")
        found = artifact("packer/coyote-GGUF", "Q8_0")
        for base, allowed in (("acme/coyote", True), ("evil/coyote", False), (None, False)):
            answer = Resolved(need=need, artifact=found, claimed_base=base)
            plan = make_plan(want, observation(catalogue(), answers=(answer,)), record())
            assert bool(plan.changes) is allowed
            assert bool(plan.blocked) is not allowed

    def test_a_pin_of_an_unknown_repository_meets_families_and_licences_too(self) -> None:
        slot = Slot(name="chat", model="acme/new-GGUF", quant="Q8_0")
        answer = Resolved(need=HubNeed(repo="acme/new-GGUF", quant="Q8_0"), artifact=artifact("acme/new-GGUF", "Q8_0"))
        seen = observation(catalogue(), answers=(answer,))
        for limits in ({"allowed_families": ("qwen3",)}, {"allowed_licenses": ("mit",)}):
            plan = make_plan(desired(slot, pool=pool(**limits)), seen, record())
            assert [row.reason for row in plan.blocked] == [Reason.NOT_ALLOWED]

    def test_a_pin_that_is_gone_is_blocked_and_says_so(self) -> None:
        gone = Unavailable(need=HubNeed(repo=f"{SMALL}-GGUF", quant="Q4_K_M"), code="gated", message="accept it first")
        plan = make_plan(desired(Slot(name="chat", model=SMALL)), observation(two_models(), answers=(gone,)), record())
        assert [row.reason for row in plan.blocked] == [Reason.UNAVAILABLE]
        assert "accept it first" in plan.blocked[0].message

    def test_a_blocked_pin_keeps_what_filled_the_slot(self) -> None:
        mine = artifact(f"{BIG}-GGUF", size=12 * GB)
        seen = observation(two_models(), observed(installed(mine)))
        gone = Unavailable(need=HubNeed(repo=f"{SMALL}-GGUF", quant="Q4_K_M"), code="not-found", message="gone")
        known = record(entry(mine, "slot/chat[0]", model_id=BIG))
        want = desired(Slot(name="chat", model=SMALL))
        plan = make_plan(want, seen.model_copy(update={"answers": (gone,)}), known)
        assert not plan.changes
        assert [row.reason for row in plan.kept] == [Reason.REPLACEMENT_BLOCKED]

    def test_a_pin_that_does_not_fit_is_a_warning(self) -> None:
        huge = catalogue(model(BIG, size_gb=60, params=100_000_000_000))
        plan = settled(desired(Slot(name="chat", model=BIG)), observation(huge), record())
        assert rows(plan.changes) == [("install", "missing", BIG)]
        assert any("usable" in warning for warning in plan.warnings)

    def test_an_ollama_name_on_a_store_is_blocked(self) -> None:
        plan = make_plan(desired(Slot(name="chat", model="qwen3:8b")), observation(two_models()), record())
        assert "Ollama name" in plan.blocked[0].message


def test_a_plan_that_was_applied_is_in_sync() -> None:
    want, seen, known = desired(CHAT), observation(two_models()), record()
    plan = settled(want, seen, known)
    again = make_plan(want, *after(plan, seen, known))
    assert again.in_sync


def test_a_new_score_within_the_threshold_changes_nothing() -> None:
    want, seen, known = desired(CHAT), observation(two_models(60, 58)), record()
    seen, known = after(settled(want, seen, known), seen, known)
    seen = seen.model_copy(update={"catalogue": scaled(seen.catalogue, {SMALL: 58, BIG: 60})})
    assert not make_plan(want, seen, known).changes


def test_a_keep_that_matches_nothing_is_a_finding() -> None:
    plan = make_plan(desired(pool=pool(keep=("my-finetune:latest",))), observation(two_models()), record())
    assert any("matches nothing" in warning for warning in plan.warnings)


def test_the_same_inputs_give_the_same_bytes() -> None:
    want, seen, known = desired(CHAT), observation(two_models()), record()
    assert make_plan(want, seen, known).model_dump_json() == make_plan(want, seen, known).model_dump_json()


def test_actions_have_signs() -> None:
    assert [action.sign for action in Action] == ["+", "~", "=", "-", "x", "+", "-"]


def test_what_is_in_sync_is_asked_about_upstream_only_while_it_follows() -> None:
    mine = artifact(f"{SMALL}-GGUF")
    known = record(entry(mine, "slot/chat[0]", model_id=SMALL))
    assert upstream_needs(desired(CHAT), known) == (HubNeed(repo=f"{SMALL}-GGUF", quant="Q4_K_M"),)
    assert not upstream_needs(desired(Slot(name="chat", model=SMALL, revision="abc")), known)
    assert not upstream_needs(desired(Slot(name="other")), known)


def test_a_pin_that_is_there_stays_when_its_source_is_gone() -> None:
    mine = artifact(f"{SMALL}-GGUF")
    gone = Unavailable(need=HubNeed(repo=f"{SMALL}-GGUF", quant="Q4_K_M"), code="not-found", message="gone")
    seen = observation(two_models(), observed(installed(mine)), answers=(gone,))
    plan = make_plan(desired(Slot(name="chat", model=SMALL)), seen, record(entry(mine, "slot/chat[0]", model_id=SMALL)))
    assert plan.in_sync


def test_one_server_has_one_key_however_its_host_is_spelled() -> None:
    spellings = ("http://localhost:11434/", "http://127.0.0.1:11434", "http://[::1]:11434")
    keys = {target("o", path=None, runtime="ollama", endpoint=spelling).key for spelling in spellings}
    assert keys == {"ollama|http://127.0.0.1:11434"}


class TestOllamaLibrary:
    """A tag of the library serves a ranked slot where no allowed file does, or where it is pulled already."""

    def world(self, *installed_names: str, repos: tuple[str, ...] = ()) -> tuple[DesiredState, Observation]:
        known = catalogue(replace(model(SMALL, repos=repos), ollama_tag="coyote:8b"))
        server = target("server", path=None, runtime="ollama", endpoint="http://127.0.0.1:11434")
        there = tuple(Installed(name=name, bytes=Bytes(5 * GB), digest="a" * 64) for name in installed_names)
        seen = observation(known, observed(*there, name="server", key=server.key))
        return desired(CHAT, targets=(server,)), seen

    def test_without_an_allowed_file_the_tag_is_wanted(self) -> None:
        plan = make_plan(*self.world(), record())
        assert [row.name for row in plan.changes] == ["coyote:8b"]
        assert plan.needs == (RegistryNeed(name="coyote:8b"),)

    def test_an_allowed_file_comes_first(self) -> None:
        plan = make_plan(*self.world(repos=(f"{SMALL}-GGUF",)), record())
        assert [row.name for row in plan.changes] == [f"hf.co/{SMALL}-GGUF:Q4_K_M"]

    def test_a_tag_that_is_pulled_already_costs_no_download(self) -> None:
        plan = make_plan(*self.world("coyote:8b", repos=(f"{SMALL}-GGUF",)), record())
        assert rows(plan.kept) == [("keep", "unmanaged-match", SMALL)]
        assert not plan.changes

    def test_the_library_is_a_packager_that_can_be_refused(self) -> None:
        want, seen = self.world()
        plan = make_plan(want.model_copy(update={"pool": pool(packagers=())}), seen, record())
        assert plan.unfilled


def test_a_pin_stays_with_the_build_it_got_though_the_catalogue_forgot_it() -> None:
    """Offline, or with another Hub, the repository it came from may be unknown: that undoes no good apply."""
    other = catalogue(model(SMALL, repos=("packer/coyote-GGUF",), quants=("Q4_K_M",)))
    mine = artifact(f"{SMALL}-GGUF", "Q4_1")
    want = desired(Slot(name="chat", model=SMALL, quants=("Q4_K_M", "Q4_1")), pool=pool(packagers=("packer",)))
    seen = observation(other, observed(installed(mine, "Q4_1")), offline=True)
    known = record(entry(mine, "slot/chat[0]", model_id=SMALL, quant="Q4_1"), applied_digest="d1")
    plan = make_plan(want, seen, known)
    assert plan.in_sync
    assert rows(plan.kept) == [("keep", "in-sync", SMALL)]


def test_an_adopted_model_is_known_by_its_place() -> None:
    mine = artifact(f"{SMALL}-GGUF")
    adopted = entry(mine, "slot/chat[0]", model_id=SMALL, artifact=None, adopted=True)
    plan = make_plan(desired(CHAT), observation(two_models(60, 40), observed(installed(mine))), record(adopted))
    assert rows(plan.kept) == [("keep", "in-sync", SMALL)]
    assert not plan.changes


def test_an_adopted_model_that_is_not_what_its_pin_names_is_updated() -> None:
    theirs = artifact(f"{SMALL}-GGUF", content="mine")
    adopted = entry(theirs, "slot/chat[0]", model_id=SMALL, artifact=None, adopted=True)
    pin = desired(Slot(name="chat", model=SMALL))
    plan = settled(pin, observation(two_models(), observed(installed(theirs))), record(adopted))
    assert rows(plan.changes) == [("update", "drifted", SMALL)]
    assert make_plan(
        desired(CHAT), observation(two_models(60, 40), observed(installed(theirs))), record(adopted)
    ).in_sync


def test_no_room_says_which_limit_is_short() -> None:
    want = desired(Slot(name="chat", model=SMALL), pool=pool(disk_budget=Bytes(1 * GB)))
    assert "4.0 GB missing in pool.diskBudget" in settled(want, observation(two_models()), record()).blocked[0].message
    full = observation(two_models(), observed(free_gb=22))
    plan = settled(desired(Slot(name="chat", model=SMALL)), full, record())
    assert "3.0 GB missing on the disk" in plan.blocked[0].message


def test_vllm_is_advised_of_the_publishers_own_weights() -> None:
    by_hand = target("gpu", path=None, runtime="advisory", program="vllm")
    plan = make_plan(desired(CHAT, targets=(by_hand,)), observation(two_models(), observed(name="gpu")), record())
    assert plan.blocked[0].reason is Reason.NO_API
    assert plan.blocked[0].command == f"vllm serve {SMALL} --max-model-len 4096"


def test_a_revision_of_a_model_that_many_repositories_hold_means_nothing() -> None:
    plan = make_plan(desired(Slot(name="chat", model=SMALL, revision="main")), observation(two_models()), record())
    assert "a revision belongs to a repository" in plan.blocked[0].message


def test_a_pin_prefers_the_repository_named_after_its_model() -> None:
    known = catalogue(model(SMALL, repos=("acme/coyote-8b-instruct-128k-GGUF", f"{SMALL}-GGUF")))
    plan = make_plan(desired(Slot(name="chat", model=SMALL)), observation(known), record())
    assert plan.needs == (HubNeed(repo=f"{SMALL}-GGUF", quant="Q4_K_M"),)


def test_the_nearest_miss_of_a_slot_that_wants_speed_is_the_fastest() -> None:
    want = desired(Slot(name="chat", min_tokens_per_second=100_000))
    plan = make_plan(want, observation(two_models()), record())
    assert "tokens a second" in (plan.unfilled[0].evidence.nearest or "")


def test_what_ranks_higher_and_has_no_room_in_the_budget_is_told() -> None:
    seen = observation(two_models(), observed())
    plan = settled(desired(CHAT, pool=pool(disk_budget=Bytes(10 * GB))), seen, record())
    (row,) = plan.changes
    assert row.model_id == SMALL
    (note,) = row.evidence.notes
    assert note.startswith(f"{BIG} at Q4_K_M ranks higher (")
    assert note.endswith(") but needs 12.0 GB of disk, 10.0 GB left of the budget")


def test_the_best_of_its_slot_has_no_note() -> None:
    plan = settled(desired(CHAT), observation(two_models(), observed()), record())
    assert [row.evidence.notes for row in plan.changes] == [()]


def test_the_nearest_miss_is_the_longest_context() -> None:
    long, short = model(BIG, context=100_000), model(SMALL, context=8_000)
    seen = observation(catalogue(short, long, scores={SMALL: 60, BIG: 50}), observed())
    (row,) = settled(desired(Slot(name="chat", context=1_000_000)), seen, record()).unfilled
    assert row.evidence.nearest is not None
    assert row.evidence.nearest.startswith(BIG)
