"""The speed parts of ``docs/estimates.md``: ours on rows not fitted on, the peers on the same rows, and the fit itself."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from estimates_figures import FEW, error, percent

from reconciler.domain.catalog import Catalogue
from reconciler.formats.measured_file import MeasuredPoint
from reconciler.ranking.measured import platform_of, subjects
from reconciler.ranking.scoring import SPEED_GROUPS, Groups, GroupScore, ScoredRow, is_counted

GOALS = {"all": 0.10, "dense": 0.09, "moe": 0.17, "under_2b": 0.16}
COVERAGE = {"all": (0.75, 0.88), "moe": (0.65, 1.0)}
WIDTH = 1.9
WHICHLLM_RANGE = (0.6, 1.6)
PLATFORMS: Groups = tuple(
    (name, lambda point, name=name: platform_of(point) == name) for name in ("nvidia", "amd", "macos", "intel")
)
DETAILS: Groups = (
    *SPEED_GROUPS,
    ("dense, 2 to 9 B", lambda point: not point.moe and 2 <= point.params_b < 9),
    ("dense, 9 B and more", lambda point: not point.moe and point.params_b >= 9),
    *PLATFORMS,
    ("long prompts or caches, over 8k", lambda point: max(point.prompt_tokens or 0, point.ctx_alloc or 0) > 8192),
)


@dataclass(frozen=True, slots=True)
class Timed:
    """One counted row with everybody's estimate over what was measured."""

    point: MeasuredPoint
    ours: ScoredRow
    """By constants that were fitted without this row."""
    whichllm: tuple[float, ...]
    """One ratio for each way it is asked."""
    llmfit: float


def timed(held: Sequence[tuple[MeasuredPoint, ScoredRow]], peers: dict[str, Any]) -> list[Timed]:
    """Everybody on the same rows."""
    found = []
    for point, row in held:
        asked = [peers[name]["rows"][point.id]["speed"] / row.measured for name in peers if "whichllm" in name]
        found.append(Timed(point, row, tuple(asked), peers["llmfit"]["rows"][point.id]["speed"] / row.measured))
    return found


@dataclass(frozen=True, slots=True)
class Compared:
    """A group of rows with everybody's ratios."""

    name: str
    ours: GroupScore
    whichllm: tuple[float, ...]
    llmfit: tuple[float, ...]

    @property
    def mdape(self) -> float:
        return self.ours.mdape or 0.0

    @property
    def better_peer(self) -> float:
        return min(error(self.whichllm), error(self.llmfit))

    @property
    def judged(self) -> bool:
        return self.ours.n >= FEW


def compared(rows: Sequence[Timed], groups: Groups) -> list[Compared]:
    """The groups that have rows; whichllm's is the kinder of the ways it is asked."""
    found = []
    for name, belongs in groups:
        group = [row for row in rows if belongs(row.point)]
        if group:
            asked = min(zip(*(row.whichllm for row in group), strict=True), key=error)
            score = GroupScore.of([row.ours for row in group])
            found.append(Compared(name, score, asked, tuple(row.llmfit for row in group)))
    return found


def summary_lines(rows: Sequence[Timed]) -> list[str]:
    """One line a group of the issue: errors, ratio, goal."""
    return [
        f"| speed, {one.name} | {one.ours.n} | {percent(one.mdape)} | {percent(error(one.whichllm))} "
        f"| {percent(error(one.llmfit))} | {one.mdape / one.better_peer:.2f} | {_goal(one)} |"
        for one in compared(rows, SPEED_GROUPS)
    ]


def _goal(one: Compared) -> str:
    goal = GOALS[one.name]
    if not one.judged:
        return f"at most {percent(goal, 0)}: too few rows to judge"
    met = one.mdape <= goal and one.mdape < one.better_peer
    return f"at most {percent(goal, 0)}: {_met(met)}"


def speed_part(rows: Sequence[Timed]) -> str:
    """Error, bias, interval of everybody, by kind of model and by platform."""
    titles = (
        "rows not fitted on", "rows", "ours: error (bias)", "80 % interval covers", "upper : lower",
        "whichllm: error (bias)", "its range covers", "llmfit: error (bias)", "ours : better peer",
    )  # fmt: skip
    lines = [f"| {' | '.join(titles)} |", "|---" + "|--:" * (len(titles) - 1) + "|"]
    for one in compared(rows, DETAILS):
        low, high = WHICHLLM_RANGE
        within = sum(low <= 1 / ratio <= high for ratio in one.whichllm) / len(one.whichllm)
        ours = f"{percent(one.mdape)} ({one.ours.bias:.2f})"
        lines.append(
            f"| {one.name}{'' if one.judged else ' (few)'} | {one.ours.n} | {ours} | {percent(one.ours.coverage80, 0)} "
            f"| {one.ours.width80:.2f} | {_peer(one.whichllm)} | {percent(within, 0)} | {_peer(one.llmfit)} "
            f"| {one.mdape / one.better_peer:.2f} |"
        )
    return "\n".join([*lines, "", *_interval_goals(rows)]) + "\n"


def _peer(ratios: Sequence[float]) -> str:
    return f"{percent(error(ratios))} ({statistics.median(ratios):.2f})"


def _interval_goals(rows: Sequence[Timed]) -> list[str]:
    groups = {one.name: one.ours for one in compared(rows, SPEED_GROUPS)}
    found = []
    for name, (least, most) in COVERAGE.items():
        group = groups.get(name)
        if group is None or group.coverage80 is None:
            continue
        met = least <= group.coverage80 <= most
        wanted = f"{percent(least, 0)} to {percent(most, 0)}" if most < 1 else f"at least {percent(least, 0)}"
        found.append(f"* interval, {name}: covers {percent(group.coverage80, 0)}, goal {wanted}: {_met(met)}")
    if groups["all"].width80 is not None:
        width = groups["all"].width80
        found.append(f"* interval, all: upper over lower {width:.2f}, goal at most {WIDTH}: {_met(width <= WIDTH)}")
    return found


def _met(met: bool) -> str:
    return "met" if met else "**not met**"


def repeats_line(points: Sequence[MeasuredPoint], catalogue: Catalogue) -> str:
    """How far people differ who measured one thing: no estimate can be much better than that."""
    said: dict[tuple[str, str, str], list[MeasuredPoint]] = defaultdict(list)
    for subject in subjects(points, catalogue):
        if is_counted(subject.point) and not subject.point.suspect:
            said[subject.point.hardware, subject.model.id, subject.build.quant].append(subject.point)
    pairs = [pair for rows in said.values() for pair in combinations(rows, 2)]
    apart = [math.exp(abs(math.log((a.decode_tps or 1) / (b.decode_tps or 1)))) - 1 for a, b in pairs]
    if not apart:
        return ""
    middle = statistics.median(apart)
    return (
        f"{len(pairs)} pairs of rows are about one model at one quant on one device: at the median they differ by "
        f"{percent(middle)}, for people run other programs and versions of them. So the error of a perfect estimate would be "
        f"about {percent(middle / math.sqrt(2))} (a pair has two errors)."
    )
