"""One adapter on one target under one name, and what is decided of it: a row, and the part of the plan it stands in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from reconciler.domain.adapter import Adapter, AdapterServing, AdapterVerdict, RecordAdapter, ServedAdapter, address_of
from reconciler.domain.desired import Target
from reconciler.domain.finding import Finding
from reconciler.domain.plan import Action, AdapterMove, Reason, Row
from reconciler.planning.adapter_standing import served_on
from reconciler.planning.scene import Scene

Part = Literal["kept", "held", "deferred", "blocked", "change"]
"""Of a plan. ``change``: what apply does, where the target can be told and there is room."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a row says to a person."""

    message: str = ""
    hint: str | None = None
    findings: tuple[Finding, ...] = ()


SILENT = Told()
"""The reason says it all."""


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
        told: Told = SILENT,
        *,
        base: str = "",
        verdict: AdapterVerdict | None = None,
        served: ServedAdapter | None = None,
    ) -> Row:
        """A row about it. ``bytes_down`` is set once it is known what is held already."""
        changes, ours = action in (Action.ATTACH, Action.UPDATE), self.ours
        now = (served.digest if served is not None else None) or (ours.digest if ours is not None else None)
        return Row(
            address=address_of(self.adapter.name),
            action=action,
            reason=reason,
            target=self.target.name,
            target_key=self.target.key,
            name=base,
            ours=changes or ours is not None,
            adapter=AdapterMove(
                adapter=self.adapter.name,
                name=self.name,
                base=base,
                before=None if action is Action.ATTACH else now,
                after=verdict.digest if changes and verdict is not None else now,
                scale=self.serving.scale,
                verdict=verdict,
                declared_base=self.adapter.base,
                rebased_from=ours.base if action is Action.UPDATE and ours is not None and ours.base != base else None,
                findings=told.findings,
            ),
            message=told.message,
            hint=told.hint,
        )

    def keep(
        self,
        part: Part,
        reason: Reason,
        told: Told = SILENT,
        *,
        base: str = "",
        verdict: AdapterVerdict | None = None,
        served: ServedAdapter | None = None,
    ) -> Decided:
        """What is left as it stands, whatever that is."""
        return Decided(part, self.row(Action.KEEP, reason, told, base=base, verdict=verdict, served=served))
