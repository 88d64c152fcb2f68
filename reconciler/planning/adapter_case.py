"""One adapter on one target under one name, and what is decided of it: a row, and the part of the plan it stands in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from reconciler.domain.adapter import Adapter, AdapterServing, AdapterVerdict, RecordAdapter, ServedAdapter
from reconciler.domain.desired import Target
from reconciler.domain.finding import Finding
from reconciler.domain.plan import Action, Reason, Row
from reconciler.planning.adapter_rows import adapter_row
from reconciler.planning.adapter_standing import served_on
from reconciler.planning.scene import Scene

Part = Literal["kept", "held", "deferred", "blocked", "change"]
"""Of a plan. ``change``: what apply does, where the target can be told and there is room."""


@dataclass(frozen=True, slots=True)
class Decided:
    """What becomes of one case."""

    part: Part
    row: Row


@dataclass(frozen=True, slots=True)
class Case:
    """One adapter on one target under one name, and what we have recorded there."""

    scene: Scene
    adapter: Adapter
    serving: AdapterServing
    target: Target
    name: str
    """That requests use; not that of ``serving`` where it is served as a candidate."""

    @property
    def ours(self) -> RecordAdapter | None:
        return self.scene.record.adapter(self.target.key, self.name)

    @property
    def served(self) -> ServedAdapter | None:
        """What answers to the name now, whoever attached it."""
        return served_on(self.scene, self.target, self.name)

    def is_same_model(self, one: str, other: str) -> bool:
        return self.scene.same_model(self.target.name, one, other)

    def row(
        self,
        action: Action,
        reason: Reason,
        message: str = "",
        *,
        base: str = "",
        hint: str | None = None,
        verdict: AdapterVerdict | None = None,
        served: ServedAdapter | None = None,
        findings: tuple[Finding, ...] = (),
    ) -> Row:
        row = adapter_row(
            self.adapter, self.serving, self.target, self.name, self.ours,
            action=action, reason=reason, message=message, base=base, verdict=verdict, served=served,
        )  # fmt: skip
        if hint is None and not findings:
            return row
        move = row.adapter.model_copy(update={"findings": findings}) if row.adapter is not None else None
        return row.model_copy(update={"hint": hint, "adapter": move})

    def keep(
        self,
        part: Part,
        reason: Reason,
        message: str = "",
        *,
        base: str = "",
        hint: str | None = None,
        verdict: AdapterVerdict | None = None,
        served: ServedAdapter | None = None,
        findings: tuple[Finding, ...] = (),
    ) -> Decided:
        """What is left as it stands, whatever that is."""
        row = self.row(
            Action.KEEP, reason, message,
            base=base, hint=hint, verdict=verdict, served=served, findings=findings,
        )  # fmt: skip
        return Decided(part, row)
