"""``pool show``: the budget and the trust as the file states them, and what is used of it."""

from __future__ import annotations

import sys
from pathlib import Path

from reconciler.cli.outcome import print_json
from reconciler.cli.reporting import Silent
from reconciler.cli.running import run_to_end
from reconciler.cli.views.plan import used_line
from reconciler.cli.views.table import columns
from reconciler.cli.wiring import Wiring
from reconciler.domain.desired import Pool
from reconciler.domain.units import show_bytes
from reconciler.engine.ownership import quietly
from reconciler.engine.reconcile import plan_once
from reconciler.engine.world import Options


def show_pool(file: Path | None, *, as_json: bool) -> int:
    """Print the pool."""
    wiring = Wiring(file=file)
    planned = run_to_end(plan_once(wiring.world(Silent()), quietly(Options())))
    pool, budgets = planned.desired.pool, planned.plan.budgets
    if as_json:
        data = {
            "pool": pool.model_dump(mode="json", by_alias=True),
            "budgets": [budget.model_dump(mode="json", by_alias=True) for budget in budgets],
        }
        print_json(data)
    else:
        sys.stdout.write("\n".join([*_lines(pool), *(used_line(budget) for budget in budgets)]) + "\n")
    return 0


def _lines(pool: Pool) -> list[str]:
    free = show_bytes(pool.min_free_disk) if pool.min_free_disk is not None else "20 GB, or 10 % of a smaller disk"
    return columns(
        [
            ["disk budget", show_bytes(pool.disk_budget)],
            ["disk that stays free", free],
            ["publishers", ", ".join(pool.allowed_orgs) or "none: nothing may be installed"],
            ["packagers", ", ".join(pool.packagers) or "none: publishers' own repositories only"],
            ["families", ", ".join(pool.allowed_families) or "all"],
            ["licences", ", ".join(pool.allowed_licenses) or "all"],
            ["kept", ", ".join(pool.keep) or "–"],
            ["never installed", ", ".join(pool.never) or "–"],
            ["prune", pool.prune],
        ],
        indent="",
    )
