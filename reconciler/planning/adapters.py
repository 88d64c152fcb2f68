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
    ServedAdapter,
)
from reconciler.domain.desired import Target
from reconciler.domain.observation import AdapterNeed, Need, Resolved, Unavailable, UnknownTarget
from reconciler.domain.plan import Action, Budget, Reason, Row
from reconciler.planning.adapter_base import Base, base_of
from reconciler.planning.adapter_by_hand import ByHand, beside, by_hand
from reconciler.planning.adapter_order import among
from reconciler.planning.adapter_rows import (
    adapter_row,
    detaching,
    made_otherwise,
    promotion_words,
    rejection_words,
)
from reconciler.planning.adapter_standing import can_let_go, how_it_drifted, is_somebody_elses, our_adapters, served_on
from reconciler.planning.scene import Scene
from reconciler.planning.select import Pick
from reconciler.planning.trust import distrust_of_names


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
    table = _Table(scene, picks, changes, blocked, fitted)
    for adapter in scene.desired.adapters:
        for serving in () if adapter.absent else adapter.serve:
            target = scene.targets.get(serving.target)
            if target is not None:
                table.wanted(adapter, serving, target)
    for target in scene.desired.targets:
        for ours in our_adapters(scene, target) if target.name in scene.observed else ():
            if (target.name, ours.name) not in table.asked:
                table.unwanted(target, ours)
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
    picks: Sequence[Pick]
    changes: Sequence[Row]
    stuck: Sequence[Row]
    out: Fitted
    moves: list[Row] = field(default_factory=list)
    removals: list[Row] = field(default_factory=list)
    manual: dict[int, ByHand] = field(default_factory=dict)
    """What a person does, by where its row stands among the blocked."""
    asked: set[tuple[str, str]] = field(default_factory=set)
    """(target, name) that the file asks for, whatever becomes of it now."""

    # ------------------------------------------------------------------------------------------ what the file asks for

    def wanted(self, adapter: Adapter, serving: AdapterServing, target: Target) -> None:
        self.asked.add((target.name, serving.name))
        candidate = serving.name + CANDIDATE_SUFFIX
        if adapter.gate is not None and adapter.gate.on_missing == "serve-as-candidate":
            self.asked.add((target.name, candidate))
        case = _Case(adapter, serving, target, serving.name, self.scene.record.adapter(target.key, serving.name))
        if target.name not in self.scene.observed:
            seen = self.scene.observation.target(target.name)
            why = seen.in_words if isinstance(seen, UnknownTarget) else "it was not observed"
            message = f"target {target.name} is unknown, so nothing is decided: {why}"
            self.out.blocked.append(case.row(Action.KEEP, Reason.TARGET_UNKNOWN, message))
            return
        base = base_of(self.scene, adapter, target, self.picks, self.changes)
        if base is None or not self._will_be_there(target, base):
            self._without_base(case, base)
        elif not self._stays_behind(case, base):
            self._on_base(case, base)

    def _will_be_there(self, target: Target, base: Base) -> bool:
        stuck = any(row.target == target.name and row.name == base.name and not base.is_there for row in self.stuck)
        evicted = self._leaves(target, base.name) and not base.comes
        return (base.is_there or base.comes) and not stuck and not evicted

    def _leaves(self, target: Target, model: str) -> bool:
        return any(
            row.action is Action.EVICT
            and row.target == target.name
            and self.scene.same_model(target.name, row.name, model)
            for row in self.changes
        )

    def _stays_on(self, case: _Case, base: Base | None) -> bool:
        """It is served, by us, on another model than its base is now; and that model does not go."""
        ours, target = case.ours, case.target
        if ours is None or served_on(self.scene, target, ours.name) is None or self._leaves(target, ours.base):
            return False
        same = base is not None and self.scene.same_model(target.name, ours.base, base.name)
        return not same and self.scene.installed(target.name, ours.base) is not None

    def _without_base(self, case: _Case, base: Base | None) -> None:
        """Nothing to stand on: it is told how to serve it by hand, stays where it stands, or waits."""
        target, ours = case.target, case.ours
        if base is not None and target.runtime == "advisory":
            self._told(case.row(Action.KEEP, Reason.NO_API, base=base.name), case, base, None)
            return
        if self._stays_on(case, base) and ours is not None:
            message = f"its base {case.adapter.base} is not settled, so it stays on {ours.base}"
            self.out.kept.append(case.row(Action.KEEP, Reason.HELD_BY_ADAPTER, message, base=ours.base))
            return
        what = f"{base.name} does not come" if base is not None else f"nothing there is {case.adapter.base}"
        message = f"its base is not on {target.name}: {what}"
        self.out.blocked.append(
            case.row(Action.KEEP, Reason.BASE_MISSING, message, base=base.name if base is not None else "")
        )

    def _stays_behind(self, case: _Case, base: Base) -> bool:
        """``onBaseChange: hold`` keeps it on the base it was attached to, unless a person named another one."""
        ours, adapter = case.ours, case.adapter
        if adapter.on_base_change != "hold" or ours is None or ours.declared_base not in ("", adapter.base):
            return False
        if not self._stays_on(case, base):
            return False
        message = f"its base is {base.name} now; `onBaseChange: hold` leaves it on {ours.base}"
        self.out.held.append(case.row(Action.KEEP, Reason.HELD_BY_ADAPTER, message, base=ours.base))
        return True

    # ------------------------------------------------------------------------------------------ its source, its fit

    def _on_base(self, case: _Case, base: Base) -> None:
        if distrust := self._distrust(case.adapter):
            self.out.blocked.append(case.row(Action.KEEP, Reason.NOT_ALLOWED, distrust, base=base.name))
            return
        verdict = self._verdict(case, base)
        if verdict is None:
            return
        if not verdict.fits:
            self._rejected(case, base, verdict)
            return
        self.out.warnings += [
            f"adapter/{case.adapter.name}: {finding.message}"
            for finding in verdict.findings
            if finding.severity == "warning"
        ]
        promoted = self._promoted(case, base, verdict)
        if promoted is not None:
            self._compare(promoted, base, verdict)

    def _distrust(self, adapter: Adapter) -> str:
        """Why the file does not allow its source; a path of this host is the operator's own."""
        repo, pool = adapter.source.repo, self.scene.desired.pool
        if repo is None:
            return ""
        organisation = repo.partition("/")[0]
        if organisation not in pool.allowed_orgs:
            return f"{repo}: {organisation} is not in pool.allowedOrgs"
        forbidden = distrust_of_names(pool, (repo,))
        return forbidden.message if forbidden is not None else ""

    def _verdict(self, case: _Case, base: Base) -> AdapterVerdict | None:
        """What its source was found to be; None where nobody said so yet, and the row then says why."""
        need = AdapterNeed(
            adapter=case.adapter.name, target=case.target.name, base_id=base.model_id, base_name=base.name
        )
        answer = self.scene.answer(need)
        if isinstance(answer, Resolved) and answer.adapter is not None:
            return answer.adapter
        if answer is None:
            if base.is_resolved:
                self.out.needs.append(need)
            self._open(case, base)
            return None
        self._cannot_be_judged(case, base, answer.message if isinstance(answer, Unavailable) else "no verdict")
        return None

    def _open(self, case: _Case, base: Base) -> None:
        """A question is open: what stands is shown as it is, what does not as a change that cannot be applied yet."""
        if case.ours is not None and served_on(self.scene, case.target, case.name) is not None:
            self.out.kept.append(case.row(Action.KEEP, Reason.IN_SYNC, base=case.ours.base))
            return
        row = case.row(Action.ATTACH, Reason.MISSING, base=base.name)
        self.moves.append(row.model_copy(update={"resolved": False}))

    def _cannot_be_judged(self, case: _Case, base: Base, why: str) -> None:
        """Its source does not answer: what is attached as it was stays, and nothing else begins."""
        ours, served = case.ours, served_on(self.scene, case.target, case.name)
        stands = ours is not None and served is not None and not how_it_drifted(self.scene, case.target, served, ours)
        if stands and ours is not None and self.scene.same_model(case.target.name, ours.base, base.name):
            message = f"as it was attached; its source could not be asked: {why}"
            self.out.kept.append(case.row(Action.KEEP, Reason.IN_SYNC, message, base=base.name))
            return
        self.out.blocked.append(case.row(Action.KEEP, Reason.UNAVAILABLE, why, base=base.name))

    def _rejected(self, case: _Case, base: Base, verdict: AdapterVerdict) -> None:
        message = rejection_words(verdict)
        ours, stays = case.ours, self._stays_on(case, base)
        row = case.row(Action.KEEP, Reason.ADAPTER_REJECTED, message, base=base.name, verdict=verdict)
        if ours is not None and stays and case.adapter.on_base_change != "drop":
            message = f"it does not belong to {base.name} ({message}), so it stays on {ours.base}"
            row = case.row(Action.KEEP, Reason.HELD_BY_ADAPTER, message, base=ours.base, verdict=verdict)
            self.out.held.append(row)
            return
        if ours is not None and stays:
            message = f"`onBaseChange: drop`: its base is {base.name} now, and it does not belong to it"
            self._remove(case.target, ours, Reason.BASE_CHANGED, message)
        elif ours is not None and served_on(self.scene, case.target, ours.name) is not None:
            what = "goes with its base" if self._leaves(case.target, ours.base) else "stays"
            row = row.model_copy(update={"message": f"{row.message}; what is attached {what}"})
        self.out.blocked.append(row)

    def _promoted(self, case: _Case, base: Base, verdict: AdapterVerdict) -> _Case | None:
        """The case under the name that its gate lets it have; None: it is not served until the gate is met."""
        if not verdict.unpromoted:
            return case
        on_missing = case.adapter.gate.on_missing if case.adapter.gate is not None else "block"
        missing = promotion_words(verdict)
        if on_missing == "block":
            row = case.row(Action.KEEP, Reason.NOT_PROMOTED, missing, base=base.name, verdict=verdict)
            self.out.blocked.append(row)
            return None
        if on_missing == "warn":
            self.out.warnings.append(f"adapter/{case.adapter.name}: served though it is not promoted: {missing}")
            return case
        ours = case.ours
        if ours is not None and ours.digest == verdict.digest:
            self.out.warnings.append(f"adapter/{case.adapter.name}: stays under its name unpromoted: {missing}")
            return case
        if ours is not None:
            message = f"the promoted one stays; what is new is served as {case.name}{CANDIDATE_SUFFIX}: {missing}"
            self.out.kept.append(case.row(Action.KEEP, Reason.NOT_PROMOTED, message, base=ours.base))
        name = case.name + CANDIDATE_SUFFIX
        return _Case(case.adapter, case.serving, case.target, name, self.scene.record.adapter(case.target.key, name))

    # ------------------------------------------------------------------------------------------ wanted and served

    def _compare(self, case: _Case, base: Base, verdict: AdapterVerdict) -> None:
        """The table: served, ours, the same → action and reason."""
        if case.name == case.serving.name:
            self._settle_candidate(case, verdict)
        served, ours = served_on(self.scene, case.target, case.name), case.ours
        if served is None and (taken := self._taken_by(case)):
            message = (
                f"the name {case.name} is taken by {taken} on {case.target.name}; give the adapter another with `as`"
            )
            row = case.row(Action.KEEP, Reason.UNMANAGED_CONFLICT, message, base=base.name, verdict=verdict)
            self.out.blocked.append(row)
        elif served is None and ours is None:
            self._change(case.row(Action.ATTACH, Reason.MISSING, base=base.name, verdict=verdict), case, base)
        elif served is None:
            message = "it is served no more: somebody removed it, or the server was started anew"
            self._change(case.row(Action.ATTACH, Reason.DRIFTED, message, base=base.name, verdict=verdict), case, base)
        elif ours is None:
            self._foreign(case, base, served, verdict)
        else:
            self._owned(case, base, served, ours, verdict)

    def _settle_candidate(self, case: _Case, verdict: AdapterVerdict) -> None:
        """Served under its name, it is no candidate any more: what stands under that name goes."""
        gate = case.adapter.gate
        if gate is None or gate.on_missing != "serve-as-candidate":
            return
        name = case.serving.name + CANDIDATE_SUFFIX
        if not verdict.unpromoted or (case.ours is not None and case.ours.digest == verdict.digest):
            self.asked.discard((case.target.name, name))

    def _taken_by(self, case: _Case) -> str:
        """What answers to the name and is no adapter; empty: it is free."""
        key, name = case.target.key, case.name
        models = self.scene.observed[case.target.name].installed
        coming = [row.name for row in self.changes if row.fetches and row.target_key == key]
        if any(self.scene.same_model(case.target.name, one, name) for one in (*(m.name for m in models), *coming)):
            return "a model"
        return "a stable name" if self.scene.alias(case.target, name) is not None else ""

    def _foreign(self, case: _Case, base: Base, served: ServedAdapter, verdict: AdapterVerdict) -> None:
        path = case.adapter.source.path
        same = served.digest == verdict.digest or (path is not None and served.path == path)
        on_base = served.base is None or self.scene.same_model(case.target.name, served.base, base.name)
        takes = self.scene.observed[case.target.name].takes_adapters is not None
        if on_base and (same or (not takes and served.digest is None)):
            told = "" if same else "; what it holds cannot be told"
            message = f"it is served already, and somebody else attached it{told}"
            row = case.row(Action.KEEP, Reason.UNMANAGED_MATCH, message, base=base.name, verdict=verdict)
            self.out.kept.append(row.model_copy(update={"ours": False}))
            return
        where = f" from {served.path}" if served.path else ""
        message = f"another adapter is served as {case.name}{where}, and somebody else attached it: it is left alone"
        row = case.row(Action.KEEP, Reason.UNMANAGED_CONFLICT, message, base=base.name, verdict=verdict, served=served)
        self.out.blocked.append(row.model_copy(update={"ours": False}))

    def _owned(
        self, case: _Case, base: Base, served: ServedAdapter, ours: RecordAdapter, verdict: AdapterVerdict
    ) -> None:
        reason, message = self._why_changed(case, base, served, ours, verdict)
        if reason is None:
            self.out.kept.append(case.row(Action.KEEP, Reason.IN_SYNC, base=base.name, verdict=verdict, served=served))
            return
        row = case.row(Action.UPDATE, reason, message, base=base.name, verdict=verdict, served=served)
        if served.loaded and (reason is not Reason.SERVING or made_otherwise(case.adapter, ours, verdict)):
            message = f"{message}; in use now, so it waits"
            self.out.deferred.append(
                row.model_copy(update={"action": Action.KEEP, "reason": Reason.IN_USE, "message": message})
            )
            return
        self._change(row, case, base)

    def _why_changed(
        self, case: _Case, base: Base, served: ServedAdapter, ours: RecordAdapter, verdict: AdapterVerdict
    ) -> tuple[Reason | None, str]:
        if not self.scene.same_model(case.target.name, ours.base, base.name):
            return Reason.BASE_CHANGED, f"its base is {base.name} now; it stood on {ours.base}"
        if drifted := how_it_drifted(self.scene, case.target, served, ours):
            return Reason.DRIFTED, drifted
        if verdict.digest != ours.digest:
            return Reason.UPSTREAM_MOVED, "its source holds other content than is attached"
        if other := made_otherwise(case.adapter, ours, verdict):
            return Reason.SERVING, other
        if case.serving.scale != ours.scale:
            return Reason.SERVING, f"scale {case.serving.scale:g} instead of {ours.scale:g}"
        return None, ""

    def _change(self, row: Row, case: _Case, base: Base) -> None:
        """A change, where the target can be told; else how a person does it."""
        if self.scene.observed[case.target.name].takes_adapters is not None:
            self.moves.append(row)
            return
        update = {"action": Action.KEEP, "reason": Reason.NO_API, "ours": case.ours is not None}
        blocked = row.model_copy(update=update)
        self._told(blocked, case, base, row.adapter.verdict if row.adapter else None)

    def _told(self, row: Row, case: _Case, base: Base, verdict: AdapterVerdict | None) -> None:
        """What a person does is said once it is known what else the target is to serve."""
        self.manual[len(self.out.blocked)] = ByHand(
            case.target, base.name, case.name, case.adapter, verdict, case.serving.scale
        )
        self.out.blocked.append(row)

    def say_how(self) -> None:
        """One command for all adapters of one base."""
        for index, one in self.manual.items():
            served = beside(one, self.out.kept, self.manual.values(), self.scene.desired.adapters)
            self.out.blocked[index] = by_hand(self.out.blocked[index], one, served)

    # ------------------------------------------------------------------------------------------ what nobody asks for

    def unwanted(self, target: Target, ours: RecordAdapter) -> None:
        adapter = next((one for one in self.scene.desired.adapters if one.name == ours.adapter), None)
        absent = adapter is not None and adapter.absent
        message = "absent: true" if absent else "nothing in the file asks for it"
        self._remove(target, ours, Reason.NOT_DESIRED, message)

    def _remove(self, target: Target, ours: RecordAdapter, reason: Reason, message: str) -> None:
        """Detach what is ours; forget what is gone, or what somebody put in its place."""
        served = served_on(self.scene, target, ours.name)
        row = detaching(self.scene, target, ours, reason, message)
        if served is None or is_somebody_elses(served, ours):
            gone = "it is gone" if served is None else f"somebody serves another as {ours.name}: that is left alone"
            update = {"action": Action.FORGET, "reason": Reason.GONE, "message": f"{gone}; {message}"}
            self.removals.append(row.model_copy(update=update))
        elif not can_let_go(self.scene, target):
            message = f"{message}; {target.name} cannot be told: start it without the adapter"
            update = {"action": Action.KEEP, "reason": Reason.NO_API, "message": message}
            self.out.blocked.append(row.model_copy(update=update))
        elif served.loaded:
            message = f"{message}; in use now, so it waits"
            update = {"action": Action.KEEP, "reason": Reason.IN_USE, "message": message}
            self.out.deferred.append(row.model_copy(update=update))
        else:
            self.removals.append(row)


@dataclass(frozen=True, slots=True)
class _Case:
    """One adapter on one target under one name, and what we have recorded there."""

    adapter: Adapter
    serving: AdapterServing
    target: Target
    name: str
    ours: RecordAdapter | None

    def row(
        self,
        action: Action,
        reason: Reason,
        message: str = "",
        *,
        base: str = "",
        verdict: AdapterVerdict | None = None,
        served: ServedAdapter | None = None,
    ) -> Row:
        return adapter_row(
            self.adapter, self.serving, self.target, self.name, self.ours,
            action=action, reason=reason, message=message, base=base, verdict=verdict, served=served,
        )  # fmt: skip
