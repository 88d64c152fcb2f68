"""``rebuild``: make a lost or unreadable record again from its journal and from what the targets hold."""

from __future__ import annotations

import sys
from pathlib import Path

from reconciler.cli.asking import agreed
from reconciler.cli.outcome import print_json
from reconciler.cli.reporting import Silent
from reconciler.cli.running import run_to_end
from reconciler.cli.views.rebuild import rebuilt_text
from reconciler.cli.wiring import Wiring
from reconciler.engine.rebuild import Rebuilt, rebuild
from reconciler.engine.world import Options


def run_rebuild(
    file: Path | None, *, yes: bool, dry: bool, take_over: bool, lock_timeout_seconds: float, as_json: bool
) -> int:
    """Show what would be ours, ask, and save it."""

    async def agree(found: Rebuilt) -> bool:
        if not as_json:
            sys.stdout.write(rebuilt_text(found) + "\n")
            sys.stdout.flush()
        return not dry and await agreed("Save this record?", yes=yes, as_json=as_json)

    options = Options(lock_timeout_seconds=lock_timeout_seconds, take_over=take_over)
    found = run_to_end(rebuild(Wiring(file=file).world(Silent()), options, agree=agree))
    if as_json:
        print_json(found.model_dump(mode="json", by_alias=True), warnings=found.notes)
    elif found.saved:
        sys.stderr.write("saved; next: localmodels plan\n")
    else:
        sys.stderr.write("nothing was saved\n")
    return 0
