"""What an adapter can stand on in this plan: its base, whether that comes, stays or goes, and where it stands now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reconciler.domain.adapter import Adapter
from reconciler.domain.advice import quoted
from reconciler.domain.desired import Target
from reconciler.domain.plan import Action, Reason, Row
from reconciler.planning.adapter_base import Base, base_of
from reconciler.planning.adapter_case import Case, Decided, Told
from reconciler.planning.scene import Scene
from reconciler.planning.select import Pick


@dataclass(frozen=True, slots=True)
class Grounds:
    """The models of a plan, as adapters see them."""

    scene: Scene
    picks: Sequence[Pick]
    changes: Sequence[Row]
    stuck: Sequence[Row]
    """Rows whose model does not come."""

    def base_of(self, adapter: Adapter, target: Target) -> Base | None:
        return base_of(self.scene, adapter, target, self.picks, self.changes)

    def will_be_there(self, target: Target, base: Base) -> bool:
        stuck = any(row.target == target.name and row.name == base.name and not base.is_there for row in self.stuck)
        evicted = self.leaves(target, base.name) and not base.comes
        return (base.is_there or base.comes) and not stuck and not evicted

    def leaves(self, target: Target, model: str) -> bool:
        return any(
            row.action is Action.EVICT
            and row.target == target.name
            and self.scene.same_model(target.name, row.name, model)
            for row in self.changes
        )

    def stays_on(self, case: Case, base: Base | None) -> bool:
        """It is served, by us, on another model than its base is now; and that model does not go."""
        ours, target = case.ours, case.target
        if ours is None or case.served is None or self.leaves(target, ours.base):
            return False
        same = base is not None and case.is_same_model(ours.base, base.name)
        return not same and self.scene.installed(target.name, ours.base) is not None

    def without_base(self, case: Case, base: Base | None) -> Decided:
        """Nothing to stand on: it stays where it stands, or waits."""
        ours, named = case.ours, case.adapter.base
        if self.stays_on(case, base) and ours is not None:
            message = f"its base {named} is not settled, so it stays on {ours.base}"
            return case.keep("kept", Reason.HELD_BY_ADAPTER, Told(message), base=ours.base)
        what = f"{base.name} does not come" if base is not None else f"nothing there is {named}"
        message = f"its base is not on {case.target.name}: {what}"
        hint = f"`localmodels explain {quoted(named)}` says what becomes of it"
        if base is None and all(slot.name != named for slot in self.scene.desired.slots):
            hint = f"install it there, or name a slot that goes to {case.target.name} as the base"
        return case.keep(
            "blocked", Reason.BASE_MISSING, Told(message, hint), base=base.name if base is not None else ""
        )

    def stays_behind(self, case: Case, base: Base) -> Decided | None:
        """``onBaseChange: hold`` keeps it on the base it was attached to, unless a person named another one."""
        ours, adapter = case.ours, case.adapter
        if adapter.on_base_change != "hold" or ours is None or ours.declared_base not in ("", adapter.base):
            return None
        if not self.stays_on(case, base):
            return None
        message = f"its base is {base.name} now; `onBaseChange: hold` leaves it on {ours.base}"
        hint = "write `onBaseChange: follow` to move it, or `drop`"
        return case.keep("held", Reason.HELD_BY_ADAPTER, Told(message, hint), base=ours.base)
