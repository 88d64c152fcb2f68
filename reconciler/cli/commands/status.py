"""``status``: what is there now, and whose it is."""

from __future__ import annotations

import sys
from pathlib import Path

from reconciler.cli.outcome import print_json, unknown_targets
from reconciler.cli.reporting import Silent
from reconciler.cli.running import run_to_end
from reconciler.cli.views.status import status_text
from reconciler.cli.wiring import Wiring
from reconciler.engine.status import status
from reconciler.engine.verdict import DONE, FAILED
from reconciler.engine.world import Options


def show_status(file: Path | None, *, as_json: bool) -> int:
    """Print the status; 1 when a target of the file does not answer."""
    wiring = Wiring(file=file)
    found = run_to_end(status(wiring.world(Silent()), Options()))
    unknown = unknown_targets(
        (target.name, target.reason or "it does not answer", target.hint)
        for target in found.targets
        if target.state == "unknown"
    )
    if as_json:
        print_json(found.model_dump(mode="json", by_alias=True), error=unknown, warnings=found.warnings)
    else:
        sys.stdout.write(status_text(found, now=wiring.clock.now()) + "\n")
    return FAILED if unknown else DONE
