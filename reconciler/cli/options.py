"""The options that several commands share: one name, one variable, one sentence of help each."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from reconciler.domain.units import parse_context

File = Annotated[
    Path | None,
    typer.Option(
        "-f", "--file", envvar="LOCALMODELS_FILE", help="The desired state; else localmodels.yaml upwards from here."
    ),
]
Json = Annotated[bool, typer.Option("--json", envvar="LOCALMODELS_JSON", help="Print JSON instead of text.")]
Offline = Annotated[
    bool,
    typer.Option(
        "--offline", envvar="LOCALMODELS_OFFLINE", help="Ask nobody: the cached catalogue, else the bundled one."
    ),
]
Refresh = Annotated[
    bool,
    typer.Option("--refresh", envvar="LOCALMODELS_REFRESH", help="Ask the Hub again, however fresh the catalogue is."),
]
Machine = Annotated[
    str | None,
    typer.Option(
        "--hardware",
        envvar="LOCALMODELS_HARDWARE",
        metavar="MACHINE",
        help="For another machine: rtx-4090, '2x rtx-3090', m3-max-36gb, cpu-16gb, or a JSON file.",
    ),
]
Accept = Annotated[
    list[str] | None,
    typer.Option(
        "--accept",
        envvar="LOCALMODELS_ACCEPT",
        metavar="SLOT",
        help="Let this slot's held swap run; adapter/NAME: take what its tag means now. May be given again.",
    ),
]
AllowEvictions = Annotated[
    int | None,
    typer.Option(
        "--allow-evictions",
        envvar="LOCALMODELS_ALLOW_EVICTIONS",
        metavar="N",
        min=0,
        help="Let this plan lose up to N models.",
    ),
]
TakeOver = Annotated[
    bool,
    typer.Option("--take-over", envvar="LOCALMODELS_TAKE_OVER", help="Let this file have the record of another one."),
]
MOST_SECONDS = 30 * 24 * 3600.0
"""Nobody waits longer for anything."""


def seconds_from(least: float) -> Callable[[str | float], float]:
    """Reads an option in seconds: a plain number of at least ``least``, and no more than a month."""

    def seconds(word: str | float) -> float:
        try:
            found = float(word)
        except ValueError:
            found = math.nan
        if not least <= found <= MOST_SECONDS:
            raise typer.BadParameter(f"not a time: {word!r}; write seconds from {least:g} to {MOST_SECONDS:.0f}")
        return found

    return seconds


LockTimeout = Annotated[
    float,
    typer.Option(
        "--lock-timeout",
        envvar="LOCALMODELS_LOCK_TIMEOUT",
        metavar="SECONDS",
        parser=seconds_from(0.0),
        help="How long to wait for another run.",
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", envvar="LOCALMODELS_YES", help="Do it without asking.")]
ProfileWord = Literal["general", "coding", "reasoning", "vision", "embedding"]
ProfileName = Annotated[
    ProfileWord | None,
    typer.Option("--profile", envvar="LOCALMODELS_PROFILE", help="What the models are ranked for."),
]


def context_from(word: str) -> int | Literal["max"]:
    try:
        return parse_context(word)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


Context = Annotated[
    Any,  # a number or max: not a type that typer knows
    typer.Option(
        "--context",
        envvar="LOCALMODELS_CONTEXT",
        metavar="TOKENS",
        parser=context_from,
        help="Context it must fit with, or max: as much as fits; else 4096, or less where the model has less.",
    ),
]
TargetName = Annotated[
    str | None,
    typer.Option("--target", envvar="LOCALMODELS_TARGET", metavar="TARGET", help="The target, by its name."),
]
