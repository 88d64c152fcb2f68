"""``plan``: show what would change and why."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from reconciler.cli.freshness import freshness_of
from reconciler.cli.outcome import print_json, unknown_targets
from reconciler.cli.reporting import Silent
from reconciler.cli.running import run_to_end
from reconciler.cli.views.hardware import elsewhere_line
from reconciler.cli.views.plan import plan_markdown, plan_text
from reconciler.cli.wiring import Wiring, checked_machine
from reconciler.cli.writing import write_text
from reconciler.domain.observation import Observation, UnknownTarget
from reconciler.domain.plan import Overrides
from reconciler.engine.reconcile import plan_once
from reconciler.engine.verdict import FAILED, exit_code_of_plan
from reconciler.engine.world import Options, Planned
from reconciler.errors import ReconcilerError, UsageError
from reconciler.planning.make_plan import make_plan


@dataclass(frozen=True, slots=True)
class PlanArguments:
    """What the command line was given."""

    file: Path | None
    as_json: bool
    as_markdown: bool
    out: Path | None
    observation: Path | None
    detailed: bool
    offline: bool
    refresh: bool
    machine: str | None
    accept: tuple[str, ...]
    allow_evictions: int | None
    take_over: bool

    @property
    def overrides(self) -> Overrides:
        return Overrides(accept=self.accept, allow_evictions=self.allow_evictions)


def show_plan(arguments: PlanArguments) -> int:
    """Make the plan, show it, save it when asked."""
    if arguments.as_json and arguments.as_markdown:
        raise UsageError("--json and --markdown contradict each other", hint="give one of them")
    wiring = Wiring(file=arguments.file)
    wiring = Wiring(file=arguments.file, machine=checked_machine(arguments.machine, wiring.clock))
    found = run_to_end(_planned(arguments, wiring))
    if arguments.out is not None:
        _save(found, arguments.out)
    unknown = _unknown(found)
    _show(found, arguments, error=unknown)
    return FAILED if unknown else exit_code_of_plan(found.plan, detailed=arguments.detailed)


async def _planned(arguments: PlanArguments, wiring: Wiring) -> Planned:
    freshness = freshness_of(offline=arguments.offline, refresh=arguments.refresh)
    world = wiring.world(Silent())
    options = Options(
        freshness=freshness,
        ask=not arguments.offline,
        overrides=arguments.overrides,
        take_over=arguments.take_over,
    )
    if arguments.observation is None:
        return await plan_once(world, options)
    return await _planned_elsewhere(arguments, wiring, arguments.observation)


async def _planned_elsewhere(arguments: PlanArguments, wiring: Wiring, path: Path) -> Planned:
    """Plan for the machine of a saved observation: nobody is asked and nothing here is looked at."""
    from reconciler.cli.commands.observe import placed, read_observation

    seen = read_observation(path)
    desired = await wiring.plain_source.load()
    if desired.name != seen.name:
        raise UsageError(
            f"the observation is of {seen.name!r}, and the file is {desired.name!r}",
            hint="name the file that was observed with -f",
        )
    desired = placed(desired, seen)
    observation: Observation = seen.observation.model_copy(update={"offline": True})
    if arguments.machine is not None:
        observation = observation.model_copy(update={"hardware": wiring.probe.probe()})
        desired = desired.model_copy(update={"hardware": None})
    plan = make_plan(desired, observation, seen.record, overrides=arguments.overrides)
    return Planned(desired, seen.record, observation, plan)


def _save(found: Planned, path: Path) -> None:
    from reconciler.engine.saved_plan import saved, text_of

    write_text(path, text_of(saved(found)), what="the plan", option="--out")


def _show(found: Planned, arguments: PlanArguments, *, error: ReconcilerError | None) -> None:
    plan = found.plan
    if arguments.as_json:
        print_json(plan.model_dump(mode="json", by_alias=True), error=error, warnings=plan.warnings)
    elif arguments.as_markdown:
        sys.stdout.write(plan_markdown(plan) + "\n")
    else:
        machine = elsewhere_line(found.observation.hardware, observed=arguments.observation is not None)
        sys.stdout.write(plan_text(plan, source=found.desired.source, machine=machine) + "\n")


def _unknown(found: Planned) -> ReconcilerError | None:
    names = {target.name for target in found.desired.targets}
    return unknown_targets(
        (one.name, one.reason, one.hint)
        for one in found.observation.targets
        if isinstance(one, UnknownTarget) and one.name in names
    )
