"""``which``: what fills a slot, for the program that wants to use it."""

from __future__ import annotations

import sys
from pathlib import Path

from reconciler.cli.outcome import print_json
from reconciler.cli.reporting import Silent
from reconciler.cli.running import run_to_end
from reconciler.cli.views.table import columns
from reconciler.cli.wiring import Wiring
from reconciler.engine.which import Filling, fillings
from reconciler.engine.world import Options


def show_which(slot: str, file: Path | None, *, as_json: bool) -> int:
    """Print where the model of a slot is."""
    wiring = Wiring(file=file)
    found = run_to_end(fillings(wiring.world(Silent()), slot, Options()))
    if as_json:
        print_json([one.model_dump(mode="json", by_alias=True) for one in found])
    else:
        sys.stdout.write("\n\n".join(_text(one) for one in found) + "\n")
    return 0


def _text(one: Filling) -> str:
    rows = [
        ["slot", one.address],
        ["target", f"{one.target} ({one.runtime})"],
        *([["path", one.path]] if one.path else []),
        *([["url", one.url]] if one.url else []),
        ["model", one.model],
        *([["context", str(one.context)]] if one.context else []),
    ]
    return "\n".join(columns(rows, indent=""))
