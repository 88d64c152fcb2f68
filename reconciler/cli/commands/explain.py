"""``explain``: one candidate by parts, or why it is rejected."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from reconciler.cli.commands.plan import freshness_of
from reconciler.cli.commands.suggest import EVERYBODY
from reconciler.cli.outcome import print_json
from reconciler.cli.reporting import Silent
from reconciler.cli.running import run_to_end
from reconciler.cli.views.explain import explanation_text
from reconciler.cli.wiring import Wiring, checked_machine
from reconciler.domain.estimate import Profile
from reconciler.engine.explain import Explanation, explain
from reconciler.engine.suggest import Question, scene_for


@dataclass(frozen=True, slots=True)
class ExplainArguments:
    """What the command line was given."""

    name: str
    file: Path | None
    as_json: bool
    profile: Profile | None
    context: int | None
    target: str | None
    machine: str | None
    offline: bool


def show_explanation(arguments: ExplainArguments) -> int:
    """Print the explanation. A rejected candidate is an answer, not a failure."""
    wiring = Wiring(file=arguments.file)
    wiring = Wiring(file=arguments.file, machine=checked_machine(arguments.machine, wiring.clock))
    found = run_to_end(_found(arguments, wiring))
    if arguments.as_json:
        print_json(found.model_dump(mode="json", by_alias=True), warnings=found.notes)
    else:
        sys.stdout.write(explanation_text(found) + "\n")
        sys.stderr.write("".join(f"note: {note}\n" for note in found.notes))
    return 0


async def _found(arguments: ExplainArguments, wiring: Wiring) -> Explanation:
    desired = await wiring.desired_if_any()
    freshness = freshness_of(offline=arguments.offline, refresh=False)
    question = Question(target=arguments.target)
    scene, target = await scene_for(wiring.world(Silent()), desired, question, freshness)
    return explain(
        scene,
        target,
        arguments.name,
        profile=arguments.profile,
        context=arguments.context,
        policy=desired.source if desired else EVERYBODY,
    )
