"""The commands that only look: rankings, explanations, the machine, the catalogue, the schema."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from reconciler.cli import options


def add_to(app: typer.Typer) -> None:
    """Every command of this file, in the order help shows them."""
    for one in (suggest, explain, which, hardware, score):
        app.command()(one)
    books = typer.Typer(rich_markup_mode=None, help="Show what models are known, from where, and how old.")
    books.callback(invoke_without_command=True)(catalog)
    books.command("refresh")(catalog_refresh)
    app.add_typer(books, name="catalog")
    app.command()(schema)


def suggest(
    file: options.File = None,
    json: options.Json = False,
    profile: Annotated[
        Literal["general", "coding", "reasoning", "vision", "embedding", "all"] | None,
        typer.Option("--profile", envvar="LOCALMODELS_PROFILE", help="What the models are ranked for; else general."),
    ] = None,
    context: options.Context = None,
    top: Annotated[
        int | None,
        typer.Option(
            "--top", envvar="LOCALMODELS_TOP", metavar="N", min=1, help="How many; else 10, or 3 of each profile."
        ),
    ] = None,
    all: Annotated[  # noqa: A002 - the option's own name
        bool, typer.Option("--all", envvar="LOCALMODELS_ALL", help="Also what does not fit or is not allowed, and why.")
    ] = False,
    target: options.TargetName = None,
    hardware: options.Machine = None,
    chart: Annotated[
        Path | None,
        typer.Option(
            "--chart",
            envvar="LOCALMODELS_CHART",
            metavar="FILE.svg",
            help="Also draw score against speed, every eligible model a point; - draws to stdout instead.",
        ),
    ] = None,
    offline: options.Offline = False,
    refresh: options.Refresh = False,
) -> int:
    """Rank the models for this machine.

    As the file allows it; without a file, those of every publisher. One line a model, at its best quant: score and
    tokens/s with 80 % intervals, the largest context that fits, and the weakest evidence behind the score.
    """
    from reconciler.cli.commands.suggest import SuggestArguments, show_suggestions

    return show_suggestions(
        SuggestArguments(
            file=file,
            as_json=json,
            profile=profile,
            context=context,
            top=top,
            everything=all,
            target=target,
            machine=hardware,
            offline=offline,
            refresh=refresh,
            chart=chart,
        )
    )


def explain(
    model: Annotated[
        str,
        typer.Argument(help="A model id, a repository, repository:QUANT, an Ollama name, or adapter/NAME."),
    ],
    file: options.File = None,
    json: options.Json = False,
    slot: Annotated[
        str | None,
        typer.Option("--slot", envvar="LOCALMODELS_SLOT", metavar="NAME", help="Judge it for this slot of the file."),
    ] = None,
    profile: options.ProfileName = None,
    context: options.Context = None,
    target: options.TargetName = None,
    hardware: options.Machine = None,
    offline: options.Offline = False,
) -> int:
    """Show one candidate by parts, or why it is rejected.

    Memory, speed and quality with sources and dates; for a rejected one also what would change the verdict.
    Of an adapter: where it stands, what its source was found to be, and what speaks against it.
    """
    from reconciler.cli.commands.explain import ExplainArguments, show_explanation

    return show_explanation(
        ExplainArguments(
            name=model,
            file=file,
            as_json=json,
            slot=slot,
            profile=profile,
            context=context,
            target=target,
            machine=hardware,
            offline=offline,
        )
    )


def which(
    slot: Annotated[str, typer.Argument(help="A slot's name, its alias, or its address slot/NAME[i].")],
    file: options.File = None,
    json: options.Json = False,
    path: Annotated[
        bool, typer.Option("--path", envvar="LOCALMODELS_PATH", help="Only the path, or the URL of a server.")
    ] = False,
) -> int:
    """Show what fills a slot: target, URL or path, name, context.

    Exits 4 when what stands there is not what was installed, or is not there any more.
    """
    from reconciler.cli.commands.which import show_which

    return show_which(slot, file, as_json=json, only_path=path)


def hardware(
    json: options.Json = False,
    hardware: options.Machine = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", envvar="LOCALMODELS_FRESH", help="Look again, whatever was seen within the day.")
    ] = False,
) -> int:
    """Show the machine, and how sure each number is.

    What --json prints is a machine that --hardware takes, here or elsewhere.
    """
    from reconciler.cli.commands.hardware import show_hardware

    return show_hardware(machine=hardware, fresh=fresh, as_json=json)


def score(
    file: Annotated[str, typer.Argument(metavar="FILE", help="Measured points (docs/estimates.md); - for stdin.")],
    json: options.Json = False,
    rows: Annotated[
        bool, typer.Option("--rows", envvar="LOCALMODELS_ROWS", help="Also the estimate of each row.")
    ] = False,
) -> int:
    """Judge our estimates of speed and memory on measured points.

    Every point counts that did not spill and whose bandwidth is known. The shipped catalogue is used, and no network.
    """
    from reconciler.cli.commands.score import ScoreArguments, show_score

    return show_score(ScoreArguments(file=file, as_json=json, rows=rows))


def catalog(context: typer.Context, file: options.File = None, json: options.Json = False) -> int:
    """Show what models are known, from where, and how old."""
    if context.invoked_subcommand is not None:
        return 0
    from reconciler.cli.commands.catalog import show_catalogue

    return show_catalogue(file, as_json=json)


def catalog_refresh(
    file: options.File = None,
    json: options.Json = False,
    benchmarks: Annotated[
        str | None,
        typer.Option(
            "--benchmarks",
            envvar="LOCALMODELS_BENCHMARKS",
            metavar="FILE|URL",
            help="Add the observations of this file (docs/benchmarks-format.md) to every later ranking.",
        ),
    ] = None,
    offline: options.Offline = False,
) -> int:
    """Ask the Hub again, or add observations of your own.

    The Hub is asked about the publishers that the file allows. Observations that are added are yours: they are kept
    in the data directory and count in every later ranking.
    """
    from reconciler.cli.commands.catalog import refresh_catalogue

    return refresh_catalogue(file, benchmarks=benchmarks, offline=offline, as_json=json)


def schema(json: options.Json = False) -> int:
    """Print the JSON Schema of the file."""
    from reconciler.cli.commands.schema import print_schema

    return print_schema(as_json=json)
