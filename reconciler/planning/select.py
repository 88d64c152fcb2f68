"""Who fills each slot: a pin, else the incumbent unless a challenger really wins, else the best that leaves room."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from reconciler.domain.desired import Slot, Target
from reconciler.domain.estimate import Candidate
from reconciler.domain.observation import UnknownTarget
from reconciler.domain.plan import Action, Reason, Row
from reconciler.domain.units import Bytes, show_bytes
from reconciler.planning.adapter_holds import why_held
from reconciler.planning.eligible import consider
from reconciler.planning.incumbent import Incumbent, incumbent_of
from reconciler.planning.option import Option, Rejected
from reconciler.planning.options import Joined, Options, Rejections
from reconciler.planning.pins import PinBlocked, pin_option
from reconciler.planning.room import Place, Room
from reconciler.planning.rows import option_row, target_row, unfilled_row
from reconciler.planning.scene import Scene
from reconciler.ranking.order import order_key


@dataclass(frozen=True, slots=True)
class Pick:
    """What fills one slot address."""

    address: str
    slot: Slot
    option: Option
    why: Literal["pin", "incumbent", "empty", "outranked", "ineligible"]
    passed_over: str = ""
    """A better one that there is no room for, in words."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One slot address and everything that could fill it, before anyone chose."""

    address: str
    slot: Slot
    options: Options = field(default_factory=Options)
    rejected: Sequence[Rejected] = ()
    incumbent: Incumbent | None = None
    stuck: Row | None = None
    """Set when nobody can choose: the row that says why."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Every slot address ends in exactly one of ``picks``, ``blocked`` and ``unfilled``."""

    picks: tuple[Pick, ...] = ()
    blocked: tuple[Row, ...] = ()
    unfilled: tuple[Row, ...] = ()
    held: tuple[Row, ...] = ()
    """Besides its pick: the swap that a slot address does not make."""
    dropped: frozenset[str] = field(default_factory=frozenset)
    """Addresses whose incumbent goes because the budget no longer holds it."""


def select(scene: Scene, room: Room) -> Selection:
    """Fill the slots in their order, each pick leaving room for the smallest option of every later one."""
    claims = tuple(claim for slot in scene.desired.slots for claim in claims_of(scene, slot))
    picks: list[Pick] = []
    blocked: list[Row] = []
    unfilled: list[Row] = []
    held: list[Row] = []
    dropped: set[str] = set()
    for index, claim in enumerate(claims):
        if claim.stuck is not None:
            blocked.append(claim.stuck)
            continue
        reserve = _reserve(room, claims[index + 1 :])
        choice = _Choice(scene, claim, room, reserve, tuple(picks), claims)
        chosen = choice.make()
        if chosen.option is not None and not claim.slot.is_pin:
            chosen = replace(chosen, passed_over=choice.passed_over(chosen.option))
        held.extend(chosen.held)
        if chosen.over_budget:
            dropped.add(claim.address)
        if chosen.option is None:
            unfilled.append(unfilled_row(scene, claim.address, claim.slot, claim.options, claim.rejected, room))
            continue
        picks.append(Pick(claim.address, claim.slot, chosen.option, chosen.why, chosen.passed_over))
        room = room.with_(chosen.option.place, chosen.option.bytes) if _is_ours(chosen.option) else room
    return Selection(tuple(picks), tuple(blocked), tuple(unfilled), tuple(held), frozenset(dropped))


def claims_of(scene: Scene, slot: Slot) -> tuple[Claim, ...]:
    """Every address of a slot with its options on every target that may hold it."""
    targets = _targets(scene, slot)
    if not isinstance(targets, tuple):
        return tuple(Claim(address, slot, stuck=targets(address)) for address in slot.addresses)
    if slot.is_pin:
        return (_pin_claim(scene, slot, targets),)
    considered = [consider(scene, slot, target) for target in targets]
    options = considered[0].options if len(considered) == 1 else Joined([one.options for one in considered])
    rejected = Rejections.joined([one.rejected for one in considered])
    return tuple(
        Claim(address, slot, options, rejected, incumbent_of(scene, slot, address, options, rejected))
        for address in slot.addresses
    )


def _pin_claim(scene: Scene, slot: Slot, targets: Sequence[Target]) -> Claim:
    address = slot.addresses[0]
    verdicts = [(target, pin_option(scene, slot, target)) for target in targets]
    options = tuple(verdict for _, verdict in verdicts if isinstance(verdict, Option))
    if options:
        return Claim(address, slot, Options(options))
    target, verdict = verdicts[0]
    allowed, message = (verdict.allowed, verdict.message) if isinstance(verdict, PinBlocked) else (True, "")
    row = target_row(
        address=address,
        slots=(address,),
        target=target.name,
        target_key=target.key,
        reason=Reason.UNAVAILABLE if allowed else Reason.NOT_ALLOWED,
        message=f"{slot.model}: {message}",
    )
    return Claim(address, slot, stuck=row.model_copy(update={"model_id": slot.model, "quant": slot.quant}))


def _targets(scene: Scene, slot: Slot) -> tuple[Target, ...] | Callable[[str], Row]:
    """Where a slot may go; or, when a target it depends on is unknown, the row that says so."""
    if slot.target is not None:
        wanted: tuple[Target, ...] = (scene.targets[slot.target],)
    else:
        holding = tuple(target for target in scene.desired.targets if target.runtime != "advisory")
        wanted = holding or scene.desired.targets
    observed = tuple(target for target in wanted if target.name in scene.observed)
    unknown = tuple(target for target in wanted if target.name not in scene.observed)
    at_home = {entry.target_key for address in slot.addresses for entry in scene.entries_by_slot.get(address, ())} & {
        target.key for target in observed
    }
    if not unknown or at_home:
        return observed
    return lambda address: _unknown_row(scene, slot, address, unknown[0])


def _unknown_row(scene: Scene, slot: Slot, address: str, target: Target) -> Row:
    seen = scene.observation.target(target.name)
    why = seen.in_words if isinstance(seen, UnknownTarget) else "it was not observed"
    return target_row(
        address=address,
        slots=(address,),
        target=target.name,
        target_key=target.key,
        reason=Reason.TARGET_UNKNOWN,
        message=f"target {target.name} is unknown, so nothing is decided for {slot.name}: {why}",
    )


def _is_ours(option: Option) -> bool:
    """Ours now, or ours once installed; a foreign model that merely fills the slot costs no budget."""
    return option.installed is None or option.entry is not None


def _reserve(room: Room, later: Sequence[Claim]) -> Mapping[Place, int]:
    """The smallest option of each later slot: what an earlier pick must leave room for."""
    reserve: dict[Place, int] = {}
    for claim in later:
        there = claim.options.there(room.committed)
        if not claim.options or any(option.place in room.committed or not _is_ours(option) for option in there):
            continue
        smallest = min(claim.options.smallest(), key=lambda option: (option.bytes, option.place))
        reserve[smallest.place] = smallest.bytes
    return reserve


@dataclass(frozen=True, slots=True)
class _Chosen:
    option: Option | None
    why: Literal["pin", "incumbent", "empty", "outranked", "ineligible"] = "empty"
    held: tuple[Row, ...] = ()
    over_budget: bool = False
    passed_over: str = ""


@dataclass(frozen=True, slots=True)
class _Choice:
    """The choice for one claim, with what it may look at."""

    scene: Scene
    claim: Claim
    room: Room
    reserve: Mapping[Place, int]
    picks: tuple[Pick, ...]
    claims: tuple[Claim, ...]

    def make(self) -> _Chosen:
        if self.claim.slot.is_pin:
            return _Chosen(self._pinned(), "pin")
        incumbent = self.claim.incumbent
        best = self._best()
        if incumbent is None:
            return _Chosen(self._without_cost(best), "empty")
        if _is_ours(incumbent.option) and not self.room.fits(incumbent.option.place, incumbent.option.bytes):
            return _Chosen(best, "ineligible", over_budget=True)
        if incumbent.rejection is not None:
            return self._unless_held(incumbent, self._instead_of_ineligible(incumbent, best))
        return self._unless_held(incumbent, self._instead_of_eligible(incumbent, best))

    def _unless_held(self, incumbent: Incumbent, chosen: _Chosen) -> _Chosen:
        """What is chosen, unless an adapter that stands on the incumbent keeps both where they are."""
        option, now = chosen.option, incumbent.option
        if option is None or incumbent.is_forbidden or (option.target, option.variant) == (now.target, now.variant):
            return chosen
        why = why_held(self.scene, now.target, now.name, option)
        held = (self._held(incumbent, option, Reason.HELD_BY_ADAPTER, why),) if why else ()
        return _Chosen(now, "incumbent", held) if why else chosen

    def passed_over(self, chosen: Option) -> str:
        """The best of the slot, where it ranks higher than the chosen one and there is no room for it."""
        taken = self._taken_models()
        best = next((one for one in self.claim.options.best_first() if one.candidate.model.id not in taken), None)
        if best is None or round(best.assessment.score, 1) <= round(chosen.assessment.score, 1):
            return ""
        if self._fits(best, self.reserve):
            return ""
        ranks = f"{_label(best)} ranks higher ({best.assessment.score:.1f}) but needs {show_bytes(best.bytes)} of disk"
        missing = self.room.lacking(best.place, best.bytes)
        if missing <= 0:
            return f"{ranks}, and later slots need room too"
        left = show_bytes(Bytes(max(0, best.bytes - missing)))
        return f"{ranks}, {left} left {self.room.tightest(best.place, best.bytes)}"

    def _pinned(self) -> Option:
        """Where it is already, else the first target in file order with room, else the first (no room)."""
        there = [option for option in self.claim.options if option.entry or option.installed]
        fitting = [option for option in self.claim.options if self._fits(option, {})]
        return (there or fitting or list(self.claim.options))[0]

    def _instead_of_eligible(self, incumbent: Incumbent, best: Option | None) -> _Chosen:
        """A challenger wins by the threshold, and with the lower end of its interval not below the incumbent."""
        if best is None or best.variant == incumbent.option.variant:
            return _Chosen(incumbent.option, "incumbent")
        ours, theirs = incumbent.option.assessment, best.assessment
        threshold = self.scene.desired.refresh.proposal_threshold
        if theirs.score < ours.score + threshold or theirs.low < ours.score:
            if theirs.score <= ours.score:
                return _Chosen(incumbent.option, "incumbent")
            why = (
                f"{_label(best)} scores {theirs.score:.1f} ({theirs.low:.1f} to {theirs.high:.1f}) against "
                f"{ours.score:.1f}: not {threshold:g} more, and surely more"
            )
            return _Chosen(incumbent.option, "incumbent", (self._held(incumbent, best, Reason.BELOW_THRESHOLD, why),))
        if self._approved():
            return _Chosen(best, "outranked")
        why = f"{_label(best)} scores {theirs.score:.1f} against {ours.score:.1f}: {self._how_to_accept()}"
        return _Chosen(incumbent.option, "incumbent", (self._held(incumbent, best, Reason.APPROVAL_NEEDED, why),))

    def _instead_of_ineligible(self, incumbent: Incumbent, best: Option | None) -> _Chosen:
        rejection = incumbent.rejection
        replaceable = incumbent.is_refused_by_the_file or self._approved()
        if incumbent.is_forbidden or (best is not None and replaceable):
            return _Chosen(best, "ineligible")
        reason = rejection.message if rejection else ""
        instead = f"; {_label(best)} would replace it: {self._how_to_accept()}" if best else "; nothing else fits"
        why = f"the incumbent no longer meets the slot ({reason}){instead}"
        shown = best or incumbent.option
        return _Chosen(incumbent.option, "incumbent", (self._held(incumbent, shown, Reason.APPROVAL_NEEDED, why),))

    def _approved(self) -> bool:
        accepted = self.scene.overrides.accept
        return (
            self.scene.desired.approval == "auto" or self.claim.slot.name in accepted or self.claim.address in accepted
        )

    def _how_to_accept(self) -> str:
        return f"run it with apply --accept {self.claim.slot.name}"

    def _held(self, incumbent: Incumbent, challenger: Option, reason: Reason, message: str) -> Row:
        address = self.claim.address
        row = option_row(
            self.scene,
            challenger,
            address=address,
            slots=(address,),
            action=Action.KEEP,
            reason=reason,
            message=message,
        )
        evidence = row.evidence.model_copy(update={"incumbent_score": round(incumbent.option.assessment.score, 2)})
        return row.model_copy(update={"evidence": evidence, "bytes_down": challenger.bytes, "resolved": True})

    def _best(self) -> Option | None:
        """The best option that leaves room for the later slots; failing that, the best with room for itself."""
        taken = self._taken_models()

        def may_have_room(candidate: Candidate, place: Place, size: Bytes) -> bool:
            return candidate.model.id not in taken and (place in self.reserve or self.room.fits(place, size))

        for reserve in (self.reserve, {}):
            for option in self.claim.options.best_first(may_have_room):
                if option.candidate.model.id not in taken and self._fits(option, reserve) and self._represents(option):
                    return option
        return None

    def _without_cost(self, best: Option | None) -> Option | None:
        """Prefer what is there already, ours or not, while the best is not better by the threshold."""
        if best is None:
            return None
        picked = {pick.option.place for pick in self.picks}
        taken = self._taken_models()
        free = [
            option
            for option in self.claim.options.there(picked)
            if (option.installed is not None or option.place in picked)
            and option.candidate.model.id not in taken
            and self._fits(option, self.reserve)
            and self._represents(option)
        ]
        there = min(free, key=lambda option: order_key(option.assessment), default=None)
        threshold = self.scene.desired.refresh.proposal_threshold
        return there if there and best.assessment.score < there.assessment.score + threshold else best

    def _represents(self, option: Option) -> bool:
        """One option stands for a candidate: where it is installed, else the first target in file order with room."""
        return min(self.claim.options.alike(option), key=self._precedence) is option

    def _precedence(self, option: Option) -> tuple[bool, bool, bool]:
        return option.entry is None, option.installed is None, not self._fits(option, self.reserve)

    def _taken_models(self) -> frozenset[str]:
        """Models that fill another address of the same slot: ``count: 2`` means two different ones.

        An earlier address has chosen; what a later one has now is left to it.
        """
        later = self.claims[self.claims.index(self.claim) + 1 :]
        siblings = [claim for claim in later if claim.slot.name == self.claim.slot.name]
        chosen = {pick.option.candidate.model.id for pick in self.picks if pick.slot.name == self.claim.slot.name}
        there = {claim.incumbent.entry.model_id for claim in siblings if claim.incumbent is not None}
        own = {self.claim.incumbent.entry.model_id} if self.claim.incumbent else set()
        return frozenset((chosen | there) - own)

    def _fits(self, option: Option, reserve: Mapping[Place, int]) -> bool:
        return not _is_ours(option) or self.room.fits(option.place, option.bytes, reserve=reserve)


def _label(option: Option) -> str:
    return f"{option.candidate.model.id} at {option.candidate.quant}"
