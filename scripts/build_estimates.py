"""Regenerates the figures of ``docs/estimates.md``: our estimates and the peers', on the same rows, in one run.

    python scripts/build_estimates.py MEASURED.json --whichllm PYTHON --llmfit PROGRAM [--check]

``make estimates`` runs it. Speed is compared on rows that ours was not fitted on: ``fit_speed.py`` fits again without
each fold. The memory formula has no constant that was fitted on these rows; its interval has, and is checked on devices
it was not derived from. Nothing between the page's marks is typed by hand. ``--check`` writes nothing, and exits 1 where
a goal is missed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from estimates_figures import PEERS, WHICHLLM
from estimates_fit import Fitted, constants_part, excluded_part, fit_part, fitted, prompts_part
from estimates_memory import (
    Peak,
    context_part,
    golden_facts,
    interval_part,
    kv_part,
    kv_summary,
    memory_part,
    memory_summary,
    overhead_part,
    peaks,
)
from estimates_speed import Timed, repeats_line, speed_part, summary_lines, timed
from score_peers import llmfit_catalogue, peer_estimates, whichllm_estimates
from score_peers_llmfit import estimate

from docs import MARK
from reconciler.cli.commands.score import read_points
from reconciler.domain.catalog import Catalogue
from reconciler.formats.measured_file import MeasuredPoint
from reconciler.integrations.catalog.bundled import load_bundled
from reconciler.ranking.decode import CONSTANTS

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "estimates.md"
HEAD = f"| what | rows | ours | {PEERS} | ours : better peer | goal |\n|---|--:|--:|--:|--:|--:|---|"


@dataclass(frozen=True, slots=True)
class Run:
    """Everything one run found out."""

    points: Sequence[MeasuredPoint]
    catalogue: Catalogue
    fit: Fitted
    timed: list[Timed]
    peaks: list[Peak]
    golden: dict[str, Any]


def run(points: Sequence[MeasuredPoint], whichllm: str, llmfit: str) -> Run:
    """Fit, score ours, ask the peers."""
    catalogue = load_bundled()
    peers = peer_estimates(tuple(points), whichllm, llmfit)
    if peers["whichllm"]["version"] != WHICHLLM:
        sys.exit(f"whichllm is {peers['whichllm']['version']}; the page is about {WHICHLLM}")
    facts = golden_facts(catalogue)
    entries = llmfit_catalogue(llmfit)
    golden = {
        "whichllm": whichllm_estimates(facts, whichllm),
        "llmfit": {"rows": {fact["id"]: estimate(fact, entries.find(fact["model"])) for fact in facts}},
    }
    fit = fitted(points)
    by_id = {point.id: point for point in points}
    held = [(by_id[row.id], row) for row in fit.held]
    return Run(points, catalogue, fit, timed(held, peers), peaks(points, catalogue, peers), golden)


def parts(of: Run) -> dict[str, str]:
    """Every generated part of the page by its name."""
    summary = [HEAD, *summary_lines(of.timed), *memory_summary(of.peaks), kv_summary(of.catalogue, of.golden)]
    summary += ["", repeats_line(of.points, of.catalogue)]
    return {
        "summary": "\n".join(summary) + "\n",
        "speed": speed_part(of.timed),
        "constants": constants_part(CONSTANTS),
        "fit": fit_part(of.fit),
        "prompts": prompts_part(of.fit),
        "excluded": excluded_part(of.fit),
        "kv": kv_part(of.catalogue, of.golden),
        "memory": memory_part(of.peaks),
        "context": context_part(of.points, of.peaks),
        "overhead": overhead_part(of.peaks),
        "interval": interval_part(of.peaks),
    }


def page(text: str, made: dict[str, str]) -> str:
    """The page with every generated part made anew, and no mark without a part."""
    marks = [found["name"] for found in MARK.finditer(text)]
    if set(marks) != set(made):
        sys.exit(f"the marks of {PAGE.name} and the parts differ: {sorted(set(marks) ^ set(made))}")
    return MARK.sub(lambda found: f"{found[1]}\n{made[found['name']]}\n{found[3]}", text)


def main() -> int:
    parser = argparse.ArgumentParser(description="Regenerates the figures of docs/estimates.md.")
    parser.add_argument("measured", metavar="MEASURED.json")
    parser.add_argument("--whichllm", required=True, metavar="PYTHON", help="the Python of whichllm's environment")
    parser.add_argument("--llmfit", required=True, metavar="PROGRAM")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a goal is missed")
    given = parser.parse_args()
    made = parts(run(read_points(given.measured), given.whichllm, given.llmfit))
    if given.check:
        print(made["summary"] + made["speed"])
        return 1 if "**not met**" in made["summary"] + made["speed"] else 0
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), made), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
