"""``explain``: one candidate by parts, or why it is rejected; or one adapter of the file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from reconciler.cli.commands.suggest import EVERYBODY, show_with_notes, wiring_for
from reconciler.cli.freshness import freshness_of
from reconciler.cli.reporting import Silent
from reconciler.cli.running import run_to_end
from reconciler.cli.views.explain import explanation_text
from reconciler.cli.views.explain_adapter import adapter_explanation_text
from reconciler.cli.wiring import Wiring
from reconciler.domain.adapter import ADDRESS
from reconciler.domain.desired import DesiredState
from reconciler.domain.estimate import Profile
from reconciler.engine.explain import Explanation, Request, explain
from reconciler.engine.explain_adapter import AdapterExplanation, explain_adapter
from reconciler.engine.reconcile import plan_once
from reconciler.engine.suggest import Question, scene_for
from reconciler.engine.world import Options
from reconciler.errors import UsageError


@dataclass(frozen=True, slots=True)
class ExplainArguments:
    """What the command line was given."""

    name: str
    file: Path | None
    as_json: bool
    profile: Profile | None
    context: int | Literal["max"] | None
    target: str | None
    machine: str | None
    offline: bool
    slot: str | None = None


def show_explanation(arguments: ExplainArguments) -> int:
    """Print the explanation. A rejected candidate is an answer, not a failure."""
    wiring = wiring_for(arguments.file, arguments.machine)
    if (adapter := run_to_end(_adapter(arguments, wiring))) is not None:
        return show_with_notes(adapter, adapter_explanation_text(adapter), as_json=arguments.as_json)
    found = run_to_end(_found(arguments, wiring))
    return show_with_notes(found, explanation_text(found), as_json=arguments.as_json)


async def _adapter(arguments: ExplainArguments, wiring: Wiring) -> AdapterExplanation | None:
    """What a plan made now says of an adapter; None: the file has none of that name, or a model is asked about."""
    name, given = arguments.name.removeprefix(ADDRESS), _of_models_alone(arguments)
    if name == arguments.name:
        desired = await wiring.desired_if_any()
        if given or arguments.target is not None or not _declares(desired, name):
            return None
    elif given:
        raise UsageError(f"{' and '.join(given)} of an adapter says nothing", hint=f"explain {arguments.name}")
    freshness = freshness_of(offline=arguments.offline, refresh=False)
    options = Options(freshness=freshness, ask=not arguments.offline)
    return explain_adapter(await plan_once(wiring.world(Silent()), options), name, arguments.target)


def _declares(desired: DesiredState | None, adapter: str) -> bool:
    return desired is not None and any(one.name == adapter for one in desired.adapters)


def _of_models_alone(arguments: ExplainArguments) -> list[str]:
    """Options that were given and mean models only."""
    values = {"--slot": arguments.slot, "--profile": arguments.profile, "--context": arguments.context}
    return [option for option, value in values.items() if value is not None]


async def _found(arguments: ExplainArguments, wiring: Wiring) -> Explanation:
    desired = await wiring.desired_if_any()
    freshness = freshness_of(offline=arguments.offline, refresh=False)
    question = Question(target=arguments.target or _target_of(arguments.slot, desired))
    scene, target = await scene_for(wiring.world(Silent()), desired, question, freshness)
    request = Request(
        name=arguments.name,
        slot=arguments.slot,
        profile=arguments.profile,
        context=arguments.context,
        policy=desired.source if desired else EVERYBODY,
    )
    return explain(scene, target, request)


def _target_of(slot: str | None, desired: DesiredState | None) -> str | None:
    """The target that the slot names, where it does."""
    slots = desired.slots if desired else ()
    return next((one.target for one in slots if one.name == slot), None)
