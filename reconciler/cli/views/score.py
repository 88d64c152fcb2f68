"""How well the estimates hold, as a person reads it: a line a group, then the rows where they were asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reconciler.cli.views.door import view
from reconciler.cli.views.table import columns, paint
from reconciler.cli.views.words import counted
from reconciler.ranking.scoring import Accuracy, GroupScore, ScoredRow

_HEAD = ["rows", "median error", "bias", "80 % interval covers", "upper : lower"]
_ROW_HEAD = ["measured", "estimate", "low", "high", "estimate : measured"]
_RIGHT = frozenset(range(1, 6))
_LEGEND = """\
median error: of |estimate : measured - 1|; bias: median of estimate : measured, 1 is none.
80 % interval: how many rows it really covers, and its median width."""


@dataclass(frozen=True, slots=True)
class Counted:
    """How many points of a file count, and why others do not."""

    points: int
    speed: int
    memory: int
    spilled: int
    without_bandwidth: int
    not_timed: int


@view
def score_text(speed: Accuracy, memory: Accuracy, of: Counted, *, with_rows: bool) -> str:
    """Both tables; with rows also every estimate, speed in tokens a second and memory in GiB."""
    lines = [
        f"{of.speed} of {counted(of.points, 'point')} count for speed, {of.memory} for memory{_left_out(of)}",
        "",
        *_groups("decode speed", speed.groups),
        "",
        *_groups("peak memory", memory.groups),
        "",
        *(paint(line, "dim") for line in _LEGEND.splitlines()),
    ]
    if with_rows:
        lines += ["", *_rows("tokens/s", speed.rows), "", *_rows("GiB", memory.rows)]
    return "\n".join(lines)


def _left_out(of: Counted) -> str:
    why = [
        *([f"{of.spilled} spilled"] if of.spilled else []),
        *([f"{of.without_bandwidth} without a bandwidth"] if of.without_bandwidth else []),
        *([f"{of.not_timed} not timed"] if of.not_timed else []),
    ]
    return f" (not counted: {', '.join(why)})" if why else ""


def _groups(title: str, groups: Sequence[tuple[str, GroupScore]]) -> list[str]:
    head, *body = columns([[title, *_HEAD], *([name, *_figures(group)] for name, group in groups)], right=_RIGHT)
    return [paint(head, "bold"), *body]


def _figures(group: GroupScore) -> list[str]:
    return [
        str(group.n),
        _text(group.mdape, ".1%"),
        _text(group.bias, ".2f"),
        _text(group.coverage80, ".0%"),
        _text(group.width80, ".2f"),
    ]


def _text(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form).replace("%", " %")


def _rows(unit: str, rows: Sequence[ScoredRow]) -> list[str]:
    table = [
        [row.id, *(f"{value:.2f}" for value in (row.measured, row.estimate, row.low, row.high, row.ratio))]
        for row in rows
    ]
    head, *body = columns([[unit, *_ROW_HEAD], *table], right=_RIGHT)
    return [paint(head, "bold"), *body]
