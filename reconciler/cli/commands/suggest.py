"""``suggest``: the ranking of the catalogue for this machine, as the file allows it."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from reconciler.cli.freshness import freshness_of
from reconciler.cli.outcome import print_json
from reconciler.cli.reporting import Silent
from reconciler.cli.running import run_to_end
from reconciler.cli.streams import one_line
from reconciler.cli.views.suggest import overview_text, suggestions_text
from reconciler.cli.views.table import terminal_width
from reconciler.cli.views.words import counted
from reconciler.cli.wiring import Wiring, checked_machine
from reconciler.cli.writing import write_text
from reconciler.domain.estimate import PROFILES, Profile
from reconciler.engine.suggest import Overview, Question, Suggestions, scene_for, suggestions
from reconciler.errors import UsageError

if TYPE_CHECKING:
    from reconciler.engine.explain import Explanation
    from reconciler.engine.explain_adapter import AdapterExplanation

EVERYBODY = "everybody"
NO_FILE = (
    "no file here: every publisher of the catalogue is shown; localmodels init writes one that says whom you trust"
)


@dataclass(frozen=True, slots=True)
class SuggestArguments:
    """What the command line was given."""

    file: Path | None
    as_json: bool
    profile: Profile | Literal["all"] | None
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
    _check(arguments)
    found = run_to_end(_found(arguments, wiring_for(arguments.file, arguments.machine)))
    if arguments.profile == "all":
        overview = Overview(rankings=found, notes=found[0].notes)
        return show_with_notes(overview, overview_text(overview, width=terminal_width()), as_json=arguments.as_json)
    ranking = found[0].model_copy(update={"rows": found[0].rows[: _top(arguments)]})
    if arguments.chart is not None:
        _draw(found[0], arguments.chart)
        if str(arguments.chart) == "-":
            return 0
    return show_with_notes(ranking, suggestions_text(ranking, width=terminal_width()), as_json=arguments.as_json)


def _check(arguments: SuggestArguments) -> None:
    """Refuse what cannot be shown at once."""
    if arguments.chart is None:
        return
    if arguments.profile == "all":
        raise UsageError("a chart is of one profile", hint=f"choose one: --profile {' or '.join(PROFILES)}")
    if str(arguments.chart) != "-" and arguments.chart.suffix.lower() not in ("", ".svg"):
        raise UsageError(f"--chart {arguments.chart}: a chart is written as SVG", hint="name it so: --chart out.svg")
    if arguments.as_json and str(arguments.chart) == "-":
        raise UsageError("--chart - and --json both want stdout", hint="give the chart a file: --chart out.svg")


def _draw(found: Suggestions, path: Path) -> None:
    from reconciler.cli.views.chart import chart_svg

    if not found.rows:
        sys.stderr.write("no chart: no model is eligible\n")
        return
    if str(path) == "-":
        sys.stdout.write(chart_svg(found))
        return
    write_text(path, chart_svg(found), what="the chart", option="--chart")
    sys.stderr.write(f"chart of {counted(len(found.rows), 'model')}: {path}\n")


def _top(arguments: SuggestArguments) -> int | None:
    """How many rows are printed."""
    if arguments.top or arguments.everything:
        return arguments.top
    return 3 if arguments.profile == "all" else 10


def wiring_for(file: Path | None, machine: str | None) -> Wiring:
    """The wiring of a look at this machine, or at a simulated one."""
    wiring = Wiring(file=file)
    return replace(wiring, machine=checked_machine(machine, wiring.clock))


def show_with_notes(
    found: Suggestions | Overview | Explanation | AdapterExplanation, text: str, *, as_json: bool
) -> int:
    """An answer of the ranking: its notes go to stderr, or into the envelope's warnings."""
    if as_json:
        print_json(found.model_dump(mode="json", by_alias=True), warnings=found.notes)
    else:
        sys.stdout.write(text + "\n")
        sys.stderr.write("".join(one_line(f"note: {note}") + "\n" for note in found.notes))
    return 0


async def _found(arguments: SuggestArguments, wiring: Wiring) -> tuple[Suggestions, ...]:
    """One ranking, or one a profile; the chart has every model."""
    desired = await wiring.desired_if_any()
    chosen = arguments.profile or "general"
    question = Question(
        context=arguments.context,
        target=arguments.target,
        top=None if arguments.chart else _top(arguments),
        everything=arguments.everything,
    )
    freshness = freshness_of(offline=arguments.offline, refresh=arguments.refresh)
    scene, target = await scene_for(wiring.world(Silent()), desired, question, freshness)
    rankings = (
        suggestions(scene, target, replace(question, profile=profile), policy=desired.source if desired else EVERYBODY)
        for profile in (PROFILES if chosen == "all" else (chosen,))
    )
    extra = () if desired else (NO_FILE,)
    return tuple(one.model_copy(update={"notes": (*extra, *one.notes)}) for one in rankings)
