"""``suggest``: the ranking of the catalogue for this machine, as the file allows it."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from reconciler.cli.commands.plan import freshness_of
from reconciler.cli.outcome import print_json
from reconciler.cli.reporting import Silent
from reconciler.cli.running import run_to_end
from reconciler.cli.views.suggest import suggestions_text
from reconciler.cli.views.table import terminal_width
from reconciler.cli.views.words import counted
from reconciler.cli.wiring import Wiring, checked_machine
from reconciler.cli.writing import write_text
from reconciler.domain.estimate import Profile
from reconciler.engine.suggest import Question, Suggestions, scene_for, suggestions
from reconciler.errors import UsageError

if TYPE_CHECKING:
    from reconciler.engine.explain import Explanation

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
    context: int | Literal["max"] | None
    top: int | None
    everything: bool
    target: str | None
    machine: str | None
    offline: bool
    refresh: bool
    chart: Path | None = None
    """``-``: to stdout, in place of the table."""


def show_suggestions(arguments: SuggestArguments) -> int:
    """Print the ranking, and draw it where that was asked."""
    to_stdout = arguments.chart is not None and str(arguments.chart) == "-"
    if to_stdout and arguments.as_json:
        raise UsageError("--chart - and --json both want stdout", hint="give the chart a file: --chart out.svg")
    found = run_to_end(_found(arguments, wiring_for(arguments.file, arguments.machine)))
    rows = found.rows[: _top(arguments)]
    text = suggestions_text(found.model_copy(update={"rows": rows}), width=terminal_width())
    if arguments.chart is not None:
        from reconciler.cli.views.chart import chart_svg

        drawn = chart_svg(found)
        if to_stdout:
            sys.stdout.write(drawn)
            return 0
        write_text(arguments.chart, drawn, what="the chart", option="--chart")
        sys.stderr.write(f"chart of {counted(len(found.rows), 'model')}: {arguments.chart}\n")
    return show_with_notes(found.model_copy(update={"rows": rows}), text, as_json=arguments.as_json)


def _top(arguments: SuggestArguments) -> int | None:
    """How many rows are printed; the chart has them all."""
    return arguments.top or (None if arguments.everything else 10)


def wiring_for(file: Path | None, machine: str | None) -> Wiring:
    """The wiring of a look at this machine, or at a simulated one."""
    wiring = Wiring(file=file)
    return replace(wiring, machine=checked_machine(machine, wiring.clock))


def show_with_notes(found: Suggestions | Explanation, text: str, *, as_json: bool) -> int:
    """An answer of the ranking: its notes go to stderr, or into the envelope's warnings."""
    if as_json:
        print_json(found.model_dump(mode="json", by_alias=True), warnings=found.notes)
    else:
        sys.stdout.write(text + "\n")
        sys.stderr.write("".join(f"note: {note}\n" for note in found.notes))
    return 0


async def _found(arguments: SuggestArguments, wiring: Wiring) -> Suggestions:
    desired = await wiring.desired_if_any()
    question = Question(
        profile=arguments.profile or "general",
        context=arguments.context,
        target=arguments.target,
        top=None,
        everything=arguments.everything,
    )
    freshness = freshness_of(offline=arguments.offline, refresh=arguments.refresh)
    scene, target = await scene_for(wiring.world(Silent()), desired, question, freshness)
    found = suggestions(scene, target, question, policy=desired.source if desired else EVERYBODY)
    return found if desired else found.model_copy(update={"notes": (NO_FILE, *found.notes)})
