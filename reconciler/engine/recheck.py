"""What the plan already checked, checked again before anything is touched: the policy, and the place.

A plan may have been saved for a day or edited by hand; nothing it says is taken on trust.
"""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.domain.artifact import HubArtifact
from reconciler.domain.desired import DesiredState
from reconciler.domain.observation import Observation, ObservedTarget, TargetObservation, UnknownTarget
from reconciler.domain.plan import Action, Plan, Row
from reconciler.domain.record import Record
from reconciler.engine.look import adapter_identity, alias_identity, find, find_adapter, find_alias, identity, is_busy
from reconciler.errors import PlanningError, StalePlan
from reconciler.planning.trust import distrust_of_artifact


def refuse_what_is_refused(plan: Plan) -> None:
    """Stop before the first step of a plan that must not run.

    Raises:
        PlanningError: ``refused-by-guard`` when a fuse or rule refuses it, ``plan-not-applicable`` when a row is not
            resolved.
    """
    if plan.refused:
        first = plan.refused[0]
        raise PlanningError(
            "; ".join(refusal.message for refusal in plan.refused),
            code="refused-by-guard",
            hint=first.hint,
            details={"refused": [refusal.model_dump(mode="json", by_alias=True) for refusal in plan.refused]},
        )
    open_rows = [row.name or row.address for row in plan.changes if not row.resolved]
    if plan.changes and (open_rows or not plan.applicable):
        raise PlanningError(
            f"the plan cannot be applied yet: nobody could be asked about {', '.join(open_rows) or 'its picks'}",
            code="plan-not-applicable",
            hint="run again where the Hub (or a mirror of it) answers",
            details={"unresolved": open_rows},
        )


def refuse_what_is_not_allowed(row: Row, desired: DesiredState, record: Record) -> None:
    """Ask the policy about what is really about to be fetched, from where.

    From the file's own hub only, or from where our record says that this very content came.

    Raises:
        PlanningError: code ``not-allowed``, or ``unresolved`` when the row carries nothing to fetch.
    """
    if row.artifact is None or not row.resolved:
        raise PlanningError(f"what {row.name} would fetch is not known", code="unresolved")
    target = next((target for target in desired.targets if target.name == row.target), None)
    distrust = distrust_of_artifact(
        desired.pool,
        row.artifact,
        model_id=row.model_id or "",
        name=row.name,
        trusted_registry=target.registry if target is not None else None,
    )
    if distrust is not None:
        raise PlanningError(distrust.message, code="not-allowed", hint="see pool.allowedOrgs and pool.packagers")
    entry = record.entry(row.target_key, row.name)
    if entry is not None and entry.artifact == row.artifact:
        return
    if isinstance(row.artifact, HubArtifact) and not _same_place(row.artifact.endpoint, desired.hub.endpoint):
        raise PlanningError(
            f"{row.name} would come from {row.artifact.endpoint}, and the file's hub is {desired.hub.endpoint}",
            code="not-allowed",
            hint="plan again",
        )


def refuse_what_moved(rows: Sequence[Row], planned: Observation, seen: Sequence[TargetObservation]) -> None:
    """Compare what stands under every name the rows touch with what the plan was made from.

    A target that does not answer any more is no reason here: its own steps will fail.

    Raises:
        StalePlan: with each name that is not as it was.
    """
    now = {target.name: target for target in seen}
    moved = []
    for row in rows:
        then, here = planned.target(row.target), now.get(row.target)
        if isinstance(then, ObservedTarget) and isinstance(here, ObservedTarget):
            was, stands = identity(find(then, row.name)), identity(find(here, row.name))
            if was != stands:
                moved.append(f"{row.name} on {row.target} {_what_happened(was, stands)}")
            if row.alias is not None:
                was, stands = (alias_identity(find_alias(one, row.alias.name)) for one in (then, here))
                if was != stands:
                    moved.append(f"the name {row.alias.name} on {row.target} {_what_happened_to_name(was, stands)}")
            if row.adapter is not None:
                was, stands = (adapter_identity(find_adapter(one, row.adapter.name)) for one in (then, here))
                if was != stands:
                    moved.append(f"the adapter {row.adapter.name} on {row.target} {_what_happened(was, stands)}")
    if moved:
        raise StalePlan(
            f"the world moved since the plan was made: {'; '.join(moved)}",
            hint="plan again",
            details={"moved": moved},
        )


def unknown_now(row: Row, seen: Sequence[TargetObservation]) -> UnknownTarget | None:
    """The target of a row, if it stopped answering since the plan was made."""
    return next((target for target in seen if isinstance(target, UnknownTarget) and target.name == row.target), None)


def in_use_now(row: Row, seen: Sequence[TargetObservation]) -> bool:
    """The row would evict a model that is loaded, or change a name under which one is."""
    for target in seen:
        if isinstance(target, ObservedTarget) and target.name == row.target:
            if row.alias is not None:
                alias = find_alias(target, row.alias.name)
                return alias is not None and alias.loaded
            model = find(target, row.name) if row.action is Action.EVICT else None
            return model is not None and is_busy(target, model)
    return False


def _what_happened_to_name(was: str | None, stands: str | None) -> str:
    if was is None:
        return "appeared"
    return "is gone" if stands is None else "stands for something else"


def _what_happened(was: str | None, stands: str | None) -> str:
    if was is None:
        return "appeared"
    return "is gone" if stands is None else "has other content"


def _same_place(one: str, other: str) -> bool:
    return one.rstrip("/").lower() == other.rstrip("/").lower()
