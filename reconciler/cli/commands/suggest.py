"""``suggest``: the ranking of the catalogue for this machine, as the file allows it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from reconciler.cli.commands.plan import freshness_of
from reconciler.cli.outcome import print_json
from reconciler.cli.reporting import Silent
from reconciler.cli.running import run_to_end
from reconciler.cli.views.suggest import suggestions_text
from reconciler.cli.wiring import Wiring, checked_machine
from reconciler.domain.estimate import Profile
from reconciler.engine.suggest import Question, Suggestions, scene_for, suggestions

EVERYBODY = "everybody"
NO_FILE = (
    "no file here: every publisher of the catalogue is shown; localmodels init writes one that says whom you trust"
)


@dataclass(frozen=True, slots=True)
class SuggestArguments:
    """What the command line was given."""

    file: Path | None
    as_json: bool
    profile: Profile | None
    context: int | None
    top: int | None
    everything: bool
    target: str | None
    machine: str | None
    offline: bool
    refresh: bool


def show_suggestions(arguments: SuggestArguments) -> int:
    """Print the ranking."""
    wiring = Wiring(file=arguments.file)
    wiring = Wiring(file=arguments.file, machine=checked_machine(arguments.machine, wiring.clock))
    found = run_to_end(_found(arguments, wiring))
    if arguments.as_json:
        print_json(found.model_dump(mode="json", by_alias=True), warnings=found.notes)
    else:
        sys.stdout.write(suggestions_text(found) + "\n")
        sys.stderr.write("".join(f"note: {note}\n" for note in found.notes))
    return 0


async def _found(arguments: SuggestArguments, wiring: Wiring) -> Suggestions:
    desired = await wiring.desired_if_any()
    question = Question(
        profile=arguments.profile or "general",
        context=arguments.context,
        target=arguments.target,
        top=arguments.top or (None if arguments.everything else 10),
        everything=arguments.everything,
    )
    freshness = freshness_of(offline=arguments.offline, refresh=arguments.refresh)
    scene, target = await scene_for(wiring.world(Silent()), desired, question, freshness)
    found = suggestions(scene, target, question, policy=desired.source if desired else EVERYBODY)
    return found if desired else found.model_copy(update={"notes": (NO_FILE, *found.notes)})
