"""A plan in a file, with everything it was made from: recomputed before it is believed, compared before it is run.

Text in, values out; reading and writing the file is the command line's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import ValidationError

from reconciler.domain.desired import DesiredState
from reconciler.domain.document import Frozen
from reconciler.domain.observation import DigestNeed, Observation
from reconciler.domain.plan import Fingerprint, Plan
from reconciler.domain.record import Record
from reconciler.domain.report import Report
from reconciler.engine.apply import apply
from reconciler.engine.lora.saved_sources import moved_sources
from reconciler.engine.lora.workshop import Workshop
from reconciler.engine.observe import observe
from reconciler.engine.reconcile import Session, session
from reconciler.engine.recover import recover
from reconciler.engine.resolve import resolved_plan
from reconciler.engine.world import Options, Planned, World
from reconciler.errors import PlanningError, StalePlan, TamperedPlan
from reconciler.planning.make_plan import make_plan


class SavedPlan(Frozen):
    """What ``plan --out`` writes and ``apply FILE`` reads."""

    kind: Literal["localmodels-plan"] = "localmodels-plan"
    format_version: Literal["1.0"] = "1.0"
    plan: Plan
    desired: DesiredState
    record: Record
    observation: Observation


def saved(planned: Planned) -> SavedPlan:
    """The document of a plan just made."""
    return SavedPlan(plan=planned.plan, desired=planned.desired, record=planned.record, observation=planned.observation)


def text_of(document: SavedPlan) -> str:
    """The document as it is written: JSON, one line."""
    return document.model_dump_json() + "\n"


def parse(text: str | bytes) -> SavedPlan:
    """A saved plan from its text.

    Raises:
        PlanningError: code ``plan-unreadable``: not JSON, not one of ours, damaged, or of another version.
    """
    try:
        return SavedPlan.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "its top"
        raise PlanningError(
            f"this is not a plan that this program wrote: {first['msg']} (at {place})",
            code="plan-unreadable",
            hint="make it again with `localmodels plan --out FILE`",
        ) from error


def refuse_if_tampered(document: SavedPlan) -> None:
    """Plan again from what the document says it was made from.

    Raises:
        TamperedPlan: another plan comes out; names the parts that differ. Or none at all: what this program saves is
            consistent in itself, so a document that cannot even be planned from was edited.
    """
    try:
        again = make_plan(document.desired, document.observation, document.record, overrides=document.plan.overrides)
    except (LookupError, ValueError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        raise TamperedPlan(
            "the plan in the file contradicts itself: no plan can be made from its own observation",
            hint="make it again with `localmodels plan --out FILE`; a plan cannot be edited",
            details={"different": [], "why": f"{type(error).__name__}: {error}"[:200]},
        ) from error
    if again == document.plan:
        return
    different = [name for name in Plan.model_fields if getattr(again, name) != getattr(document.plan, name)]
    differ = "differs" if len(different) == 1 else "differ"
    raise TamperedPlan(
        f"the plan in the file is not what its own observation leads to: {', '.join(different)} {differ}",
        hint="make it again with `localmodels plan --out FILE`; a plan cannot be edited",
        details={"different": different},
    )


def refuse_if_stale(
    document: SavedPlan, desired: DesiredState, now: Fingerprint, other_sources: Sequence[str] = ()
) -> None:
    """Compare what the plan relied on with what is so now.

    Free memory, load and the catalogue's revision are not part of it.

    Args:
        document: the plan, and what it was made from.
        desired: as the file declares it now.
        now: the fingerprint of a plan made at this moment.
        other_sources: adapters whose files are others now, in sentences.

    Raises:
        StalePlan: with everything that moved, in ``details['moved']``.
    """
    moved = (*moved_since(document, desired, now), *other_sources)
    if moved:
        raise StalePlan(
            f"the world moved since the plan was made: {'; '.join(moved)}",
            hint="plan again, and look at what changed",
            details={"moved": list(moved)},
        )


def moved_since(document: SavedPlan, desired: DesiredState, now: Fingerprint) -> tuple[str, ...]:
    """What is not as it was, in sentences; empty when the plan still holds."""
    then, own = document.plan.fingerprint, document.desired
    moved = []
    if (own.name, own.source) != (desired.name, desired.source):
        moved.append(
            f"it is a plan of another document: {own.name!r} ({own.source}), and this is {desired.name!r} "
            f"({desired.source})"
        )
    elif then.desired != now.desired or document.desired != desired:
        moved.append("the desired state's file was edited")
    if then.record_generation != now.record_generation:
        moved.append(f"the record went from generation {then.record_generation} to {now.record_generation}")
    was, stands = dict(then.targets), dict(now.targets)
    names = {target.key: target.name for target in (*document.desired.targets, *desired.targets)}
    different = [key for key in sorted(was.keys() | stands.keys()) if was.get(key) != stands.get(key)]
    moved.extend(f"what is installed on {names.get(key, key)} changed" for key in different)
    if then.hardware != now.hardware:
        moved.append("the machine has other devices or memory")
    if then.policy != now.policy:
        moved.append("the policy of this run is another")
    return tuple(moved)


async def apply_saved(world: World, document: SavedPlan, options: Options) -> Report:
    """Run a saved plan exactly, or refuse it.

    Raises:
        TamperedPlan: it is not what its own observation leads to. StalePlan: the world moved; says what.
    """
    refuse_if_tampered(document)
    async with session(world, options) as here:
        current = await _as_it_is_now(world, document, here, options)
        other_sources = await moved_sources(Workshop(world, here.desired, here.runtimes), document.plan)
        refuse_if_stale(document, here.desired, current.plan.fingerprint, other_sources)
        if here.desired.enabled:
            await here.books.replace(current.record, event="recovered")
        exact = Planned(here.desired, current.record, current.observation, document.plan)
        return await apply(exact, here.books, here.runtimes, world, options)


async def _as_it_is_now(world: World, document: SavedPlan, here: Session, options: Options) -> Planned:
    """This moment's plan, for its fingerprint: nobody outside is asked, the saved answers stand in for them."""
    observation = await observe(
        world,
        here.desired,
        freshness="offline",
        runtimes=here.runtimes,
        timeout_seconds=options.target_timeout_seconds,
    )
    record = here.books.record
    if here.desired.enabled and record.intents:
        record = (await recover(record, observation.targets, here.runtimes, now=observation.now)).record
    answers = tuple(answer for answer in document.observation.answers if not isinstance(answer.need, DigestNeed))
    observation = observation.model_copy(update={"answers": answers})
    plan, observation = await resolved_plan(
        world,
        here.desired,
        observation,
        record,
        overrides=document.plan.overrides,
        runtimes=here.runtimes,
        ask=False,
    )
    return Planned(here.desired, record, observation, plan)
