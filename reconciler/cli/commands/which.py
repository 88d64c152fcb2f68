"""``which``: what fills a slot, for the program that wants to use it."""

from __future__ import annotations

import sys
from pathlib import Path

from reconciler.cli.outcome import EXIT_REFUSED, print_json
from reconciler.cli.reporting import Silent
from reconciler.cli.running import run_to_end
from reconciler.cli.views.table import columns
from reconciler.cli.wiring import Wiring
from reconciler.engine.which import Filling, fillings
from reconciler.engine.world import Options
from reconciler.errors import UsageError


def show_which(slot: str, file: Path | None, *, as_json: bool, only_path: bool) -> int:
    """Print where the model of a slot is; what drifted is said beside it."""
    if as_json and only_path:
        raise UsageError("--json and --path contradict each other", hint="give one of them")
    wiring = Wiring(file=file)
    found = run_to_end(fillings(wiring.world(Silent()), slot, Options()))
    if as_json:
        print_json([one.model_dump(mode="json", by_alias=True) for one in found])
    else:
        told = [_place(one) for one in found] if only_path else ["\n\n".join(_text(one) for one in found)]
        sys.stdout.write("\n".join(told) + "\n")
    drifted = [one for one in found if one.drift]
    sys.stderr.write("".join(f"warning: {one.address}: {one.model} on {one.target} {one.drift}\n" for one in drifted))
    amiss = [one for one in found if one.alias_amiss]
    sys.stderr.write("".join(f"warning: {one.address}: the name {one.alias_amiss}\n" for one in amiss))
    return EXIT_REFUSED if drifted else 0


def _place(one: Filling) -> str:
    return one.path or one.url or one.model


def _text(one: Filling) -> str:
    rows = [
        ["slot", one.address],
        ["target", f"{one.target} ({one.runtime})"],
        *([["path", one.path]] if one.path else []),
        *([["url", one.url]] if one.url else []),
        ["model", one.model],
        *([["alias", one.alias]] if one.alias else []),
        *([["alias path", one.alias_path]] if one.alias_path else []),
        *([["context", str(one.context)]] if one.context else []),
    ]
    return "\n".join(columns(rows, indent=""))
