"""LoRA adapters: which rows attach, change and detach them. Where those stand in a plan, ``adapter_order`` says.

What becomes of an adapter never decides on a model, beside what ``onBaseChange`` keeps where it is: a broken adapter
is told, and its base is installed and served as if there were none. Nothing is detached that we did not attach, and
nothing on the word of a target that did not answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from reconciler.domain.adapter import (
    CANDIDATE_SUFFIX,
    Adapter,
    AdapterServing,
    AdapterVerdict,
    RecordAdapter,
    address_of,
)
from reconciler.domain.desired import Target
from reconciler.domain.observation import Need, Resolved, Unavailable, UnknownTarget
from reconciler.domain.plan import Action, Budget, Reason, Row
from reconciler.planning import adapter_source as source
from reconciler.planning.adapter_base import Base, started_with
from reconciler.planning.adapter_by_hand import ByHand, beside, by_hand, theirs_on
from reconciler.planning.adapter_case import Case, Decided, Told
from reconciler.planning.adapter_compare import compared
from reconciler.planning.adapter_grounds import Grounds
from reconciler.planning.adapter_leaving import is_pruned
from reconciler.planning.adapter_order import among
from reconciler.planning.adapter_preset_lines import with_lines
from reconciler.planning.adapter_ranks import Ranks
from reconciler.planning.adapter_rows import detaching, promotion_words, what_to_do
from reconciler.planning.adapter_standing import can_let_go, our_adapters, served_on
from reconciler.planning.scene import Scene
from reconciler.planning.select import Pick


@dataclass(slots=True)
class Fitted:
    """The rows of adapters by what becomes of them, and the changes with theirs among them."""

    changes: tuple[Row, ...] = ()
    budgets: tuple[Budget, ...] = ()
    kept: list[Row] = field(default_factory=list)
    held: list[Row] = field(default_factory=list)
    deferred: list[Row] = field(default_factory=list)
    blocked: list[Row] = field(default_factory=list)
    needs: list[Need] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def fit_adapters(
    scene: Scene, picks: Sequence[Pick], changes: Sequence[Row], blocked: Sequence[Row], budgets: Sequence[Budget]
) -> Fitted:
    """Put the rows of adapters into an ordered plan.

    Args:
        scene: everything a decision may look at.
        picks: what fills the slots.
        changes: in the order apply runs them.
        blocked: rows whose model does not come.
        budgets: as the models leave them.
    """
    fitted = Fitted(changes=tuple(changes), budgets=tuple(budgets))
    table = _Table(scene, Grounds(scene, picks, changes, blocked), fitted, Ranks(scene))
    for adapter in scene.desired.adapters:
        for serving in () if adapter.absent else adapter.serve:
            target = scene.targets.get(serving.target)
            if target is not None:
                table.wanted(adapter, serving, target)
    for target in scene.desired.targets:
        for ours in our_adapters(scene, target):
            if (target.name, ours.name) not in table.asked:
                table.unwanted(target, ours)
    table.settle_ranks()
    table.say_how()
    placed = among(scene, changes, table.moves, table.removals, fitted.budgets)
    fitted.changes, fitted.budgets = placed.changes, placed.budgets
    fitted.blocked += placed.blocked
    fitted.kept = [row for row in fitted.kept if row.subject not in placed.gone]
    fitted.warnings = list(dict.fromkeys(fitted.warnings))
    return fitted


@dataclass(slots=True)
class _Table:
    """Every case of one adapter on one target, one after the other."""

    scene: Scene
    grounds: Grounds
    out: Fitted
    ranks: Ranks
    moves: list[Row] = field(default_factory=list)
    removals: list[Row] = field(default_factory=list)
    manual: dict[int, ByHand] = field(default_factory=dict)
    """What a person does, by where its row stands among the blocked."""
    asked: set[tuple[str, str]] = field(default_factory=set)
    """(target, name) that the file asks for, whatever becomes of it now."""

    # ------------------------------------------------------------------------------------------ what the file asks for

    def wanted(self, adapter: Adapter, serving: AdapterServing, target: Target) -> None:
        self.asked.add((target.name, serving.name))
        if adapter.gate is not None and adapter.gate.on_missing == "serve-as-candidate":
            self.asked.add((target.name, serving.name + CANDIDATE_SUFFIX))
        case = Case(self.scene, adapter, serving, target, serving.name)
        if target.name not in self.scene.observed:
            self._file(self._unknown(case))
            return
        base = self.grounds.base_of(adapter, target)
        if base is None or not self.grounds.will_be_there(target, base):
            self._without_base(case, base)
        elif (behind := self.grounds.stays_behind(case, base)) is not None:
            self._file(behind)
        elif (blocked := source.distrusted(case, base)) is not None:
            self._file(blocked)
        else:
            self._on_base(case, base)

    def _file(self, decided: Decided) -> None:
        parts = {
            "kept": self.out.kept, "held": self.out.held, "deferred": self.out.deferred,
            "blocked": self.out.blocked, "change": self.moves,
        }  # fmt: skip
        parts[decided.part].append(decided.row)

    def _unknown(self, case: Case) -> Decided:
        return case.keep("blocked", Reason.TARGET_UNKNOWN, self._silence_of(case.target))

    def _silence_of(self, target: Target) -> Told:
        seen = self.scene.observation.target(target.name)
        why = seen.reason if isinstance(seen, UnknownTarget) else "it was not observed"
        hint = (seen.hint if isinstance(seen, UnknownTarget) else None) or "plan again once it answers"
        return Told(f"target {target.name} is unknown, so nothing is decided: {why}", hint)

    def _without_base(self, case: Case, base: Base | None) -> None:
        if base is not None and case.target.runtime == "advisory":
            self._told(case.row(Action.KEEP, Reason.NO_API, base=base.name), case, base, None)
        else:
            self._file(self.grounds.without_base(case, base))

    # ------------------------------------------------------------------------------------------ its source, its fit

    def _on_base(self, case: Case, base: Base) -> None:
        verdict = self._verdict(case, base)
        if verdict is None:
            return
        if not verdict.fits:
            self._rejected(case, base, verdict)
            return
        self.ranks.count(case.target, base.name, verdict.rank)
        self.out.warnings += source.told(case.adapter, verdict.findings)
        promoted = self._promoted(case, base, verdict)
        if promoted is not None:
            self._compare(promoted, base, verdict)

    def _verdict(self, case: Case, base: Base) -> AdapterVerdict | None:
        """What its source was found to be; None where nobody said so yet, and the row then says why."""
        need = source.need_of(case, base)
        answer = self.scene.answer(need)
        if isinstance(answer, Resolved) and answer.adapter is not None:
            return answer.adapter
        if answer is None:
            if base.is_resolved:
                self.out.needs.append(need)
            self._file(source.not_asked(case, base))
            return None
        why = answer if isinstance(answer, Unavailable) else None
        if (held := source.from_held_copy(case, base, why)) is not None:
            return held
        decided = source.not_read(case, base, why)
        self.out.warnings += source.told(case.adapter, decided.row.adapter.findings if decided.row.adapter else ())
        self._file(decided)
        return None

    def _rejected(self, case: Case, base: Base, verdict: AdapterVerdict) -> None:
        decided, goes = source.rejected(case, base, verdict, self.grounds)
        if goes and case.ours is not None:
            message = f"`onBaseChange: drop`: its base is {base.name} now, and it does not belong to it"
            self._remove(case.target, case.ours, Reason.BASE_CHANGED, message)
        self._file(decided)

    def _promoted(self, case: Case, base: Base, verdict: AdapterVerdict) -> Case | None:
        """The case under the name that its gate lets it have; None: it is not served until the gate is met."""
        if not verdict.unpromoted:
            return case
        on_missing = case.adapter.gate.on_missing if case.adapter.gate is not None else "block"
        if on_missing == "block":
            self._file(source.not_promoted(case, base, verdict, self.grounds))
            return None
        address = address_of(case.adapter.name)
        missing = f"{promotion_words(verdict)}; {what_to_do(verdict.unpromoted, case.adapter)}"
        if on_missing == "warn":
            self.out.warnings.append(f"{address}: served though it is not promoted: {missing}")
            return case
        if case.ours is not None and case.ours.digest == verdict.digest:
            self.out.warnings.append(f"{address}: stays under its name unpromoted: {missing}")
            return case
        if (promoted := source.beside_candidate(case, verdict, self.grounds)) is not None:
            self._file(promoted)
        return Case(self.scene, case.adapter, case.serving, case.target, case.name + CANDIDATE_SUFFIX)

    # ------------------------------------------------------------------------------------------ wanted and served

    def _compare(self, case: Case, base: Base, verdict: AdapterVerdict) -> None:
        if case.name == case.serving.name:
            self._settle_candidate(case, verdict)
        decided = source.with_held_copy(compared(case, base, verdict, self.grounds.changes), verdict)
        if decided.part != "change" or self.scene.observed[case.target.name].takes_adapters is not None:
            self._file(decided)
            return
        update = {"action": Action.KEEP, "reason": Reason.NO_API, "ours": case.ours is not None}
        self._told(decided.row.model_copy(update=update), case, base, verdict)

    def _settle_candidate(self, case: Case, verdict: AdapterVerdict) -> None:
        """Served under its name, it is no candidate any more: what stands under that name goes."""
        gate = case.adapter.gate
        if gate is None or gate.on_missing != "serve-as-candidate":
            return
        name = case.serving.name + CANDIDATE_SUFFIX
        if not verdict.unpromoted or (case.ours is not None and case.ours.digest == verdict.digest):
            self.asked.discard((case.target.name, name))

    # ------------------------------------------------------------------------------------------ what a person does

    def _told(self, row: Row, case: Case, base: Base, verdict: AdapterVerdict | None) -> None:
        """What a person does is said once it is known what else the target is to serve."""
        start, names = started_with(self.scene, case.target, base.name)
        self.manual[len(self.out.blocked)] = ByHand(
            case.target, base.name, case.name, case.adapter, verdict, case.serving.scale, start, names
        )
        self.out.blocked.append(row)

    def settle_ranks(self) -> None:
        """A change whose rank is beyond its server is none; known once every adapter has been looked at."""
        judged = [self.ranks.judge(row, self.scene.targets[row.target], self.out.kept) for row in self.moves]
        self.moves = [row for row in judged if row.action is not Action.KEEP]
        self.out.blocked += [row for row in judged if row.action is Action.KEEP]

    def say_how(self) -> None:
        """One command for all adapters of one base."""
        for index, one in self.manual.items():
            served = beside(one, self.out.kept, self.manual.values(), self.scene.desired.adapters)
            rank = self.ranks.highest(one.target, one.base)
            theirs = theirs_on(self.scene, one.target, one.base)
            row = by_hand(self.out.blocked[index], one, served, rank, theirs)
            self.out.blocked[index] = with_lines(row, one, self.scene)

    # ------------------------------------------------------------------------------------------ what nobody asks for

    def unwanted(self, target: Target, ours: RecordAdapter) -> None:
        adapter = next((one for one in self.scene.desired.adapters if one.name == ours.adapter), None)
        absent = adapter is not None and adapter.absent
        message = "absent: true" if absent else "nothing in the file asks for it"
        if target.name not in self.scene.observed:
            told = self._silence_of(target)
            row = detaching(target.name, ours, None, Reason.TARGET_UNKNOWN, f"{told.message}; {message}")
            self.out.blocked.append(row.model_copy(update={"action": Action.KEEP, "hint": told.hint}))
        elif not is_pruned(self.scene, target, ours.name):
            row = detaching(
                target.name, ours, served_on(self.scene, target, ours.name), Reason.PRUNE_OFF, "prune: never"
            )
            self.out.kept.append(row.model_copy(update={"action": Action.KEEP}))
        else:
            self._remove(target, ours, Reason.NOT_DESIRED, message)

    def _remove(self, target: Target, ours: RecordAdapter, reason: Reason, message: str) -> None:
        """Detach what is ours; forget what is gone, or what somebody put in its place."""
        served = served_on(self.scene, target, ours.name)
        row = detaching(target.name, ours, served, reason, message)
        if served is None or served.is_foreign_to(ours):
            gone = "it is gone" if served is None else f"somebody serves another as {ours.name}: that is left alone"
            update = {"action": Action.FORGET, "reason": Reason.GONE, "message": f"{gone}; {message}"}
            self.removals.append(row.model_copy(update=update))
        elif not can_let_go(self.scene, target):
            message, hint = f"{message}; {target.name} cannot be told", "start it without the adapter"
            update = {"action": Action.KEEP, "reason": Reason.NO_API, "message": message, "hint": hint}
            self.out.blocked.append(row.model_copy(update=update))
        elif served.loaded:
            message = f"{message}; in use now, so it waits"
            update = {"action": Action.KEEP, "reason": Reason.IN_USE, "message": message}
            self.out.deferred.append(row.model_copy(update=update))
        else:
            self.removals.append(row)
