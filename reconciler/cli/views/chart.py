"""Quality against speed as a picture: one point a model, the frontier marked; SVG without scripts, fonts or colours
that depend on where it is looked at. The same ranking gives the same bytes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from reconciler.cli.views.hardware import machine_name
from reconciler.cli.views.labels import Box, Label, placed
from reconciler.cli.views.suggest import DOUBT, context_words, most_context
from reconciler.cli.views.words import counted
from reconciler.domain.units import show_bytes
from reconciler.engine.suggest import Suggestion, Suggestions

WIDTH = 960
_PLOT = Box(62, 78, 936, 500)
_LEGEND_TOP = 572
_ROW = 19
_MOST_NAMED = 12
_INK, _PALE, _GRID, _POINT, _FRONT = "#1f2328", "#59636e", "#e4e8ec", "#8c959f", "#0969da"
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_COLUMNS = ((62, "start"), (84, "start"), (520, "end"), (660, "end"), (750, "end"), (844, "end"), (936, "end"))
_HEADS = ("", "on the frontier", "score", "tokens/s", "size", "memory", "context")


def frontier(rows: Iterable[Suggestion]) -> tuple[Suggestion, ...]:
    """The models that no other one beats: none is at least as good and as fast, and better in one; best first."""
    found: list[Suggestion] = []
    for row in sorted(rows, key=lambda one: (-one.score, -one.tokens_per_second, one.model_id)):
        last = found[-1] if found else None
        is_twin = last is not None and (row.score, row.tokens_per_second) == (last.score, last.tokens_per_second)
        if last is None or is_twin or row.tokens_per_second > last.tokens_per_second:
            found.append(row)
    return tuple(found)


def chart_svg(found: Suggestions) -> str:
    """The picture of every row: score against tokens a second (logarithmic), with their intervals as thin lines."""
    rows = tuple(row for row in found.rows if row.tokens_per_second > 0)
    front = frontier(rows)
    named = front[:_MOST_NAMED]
    height = _LEGEND_TOP + _ROW * (len(named) + 1) + 12
    body = _picture(rows, front, named) if rows else [_text(499, 290, "nothing that is allowed fits", anchor="middle")]
    size = f'width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
    font = f'font-family="sans-serif" font-size="12" fill="{_INK}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-labelledby="title" {font}>',
        f'<title id="title">{_safe(_title(found))}</title>',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        _text(24, 30, _title(found), size=17, weight="bold"),
        _text(24, 50, _subtitle(found, len(rows)), colour=_PALE),
        *body,
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _title(found: Suggestions) -> str:
    return f"Models for {found.profile} on {machine_name(found.hardware)}"


def _subtitle(found: Suggestions, count: int) -> str:
    parts = [
        f"at {context_words(found.context)}",
        f"{show_bytes(found.hardware.hardware.capacity_bytes)} usable for one model",
        counted(count, "eligible model"),
        f"ranked {found.ranked_at} with the catalogue of {found.catalogue_date}",
    ]
    return " · ".join(parts)


@dataclass(frozen=True, slots=True)
class _Axes:
    """From values to pixels."""

    slowest: float
    fastest: float
    worst: float
    best: float

    @classmethod
    def of(cls, rows: Sequence[Suggestion]) -> _Axes:
        slowest, fastest = (pick(row.tokens_per_second for row in rows) for pick in (min, max))
        worst, best = min(row.low for row in rows), max(row.high for row in rows)
        bottom, top = math.floor(worst / 10) * 10, math.ceil((best + 1) / 10) * 10
        return cls(slowest / 1.25, fastest * 1.25, float(min(90, max(0, bottom))), float(min(100, top)))

    def x(self, speed: float) -> float:
        speed = min(max(speed, self.slowest), self.fastest)
        share = math.log(speed / self.slowest) / math.log(self.fastest / self.slowest)
        return _PLOT.left + share * (_PLOT.right - _PLOT.left)

    def y(self, score: float) -> float:
        share = (min(max(score, self.worst), self.best) - self.worst) / (self.best - self.worst)
        return _PLOT.bottom - share * (_PLOT.bottom - _PLOT.top)

    @property
    def speeds(self) -> list[float]:
        """Round speeds in range: 1, 2, 5, 10, …"""
        first, last = math.floor(math.log10(self.slowest)), math.ceil(math.log10(self.fastest))
        rounds = [float(f"{digit}e{power}") for power in range(first, last + 1) for digit in (1, 2, 5)]
        return [one for one in rounds if self.slowest <= one <= self.fastest]

    @property
    def scores(self) -> list[float]:
        return [self.worst + 10 * step for step in range(round((self.best - self.worst) / 10) + 1)]


def _picture(rows: Sequence[Suggestion], front: Sequence[Suggestion], named: Sequence[Suggestion]) -> list[str]:
    axes = _Axes.of(rows)
    on_front = {id(row) for row in front}
    rest = [row for row in rows if id(row) not in on_front]
    wanted = [
        (f"{number} {_bare(row)}", axes.x(row.tokens_per_second), axes.y(row.score))
        for number, row in enumerate(named, start=1)
    ]
    labels = placed(wanted, [(axes.x(row.tokens_per_second), axes.y(row.score)) for row in rest], _PLOT)
    return [
        *_grid(axes),
        *(_whiskers(row, axes, _POINT, 0.3) for row in rest),
        *(_point(row, axes, _POINT, 3.0) for row in rest),
        _staircase(front, axes),
        *(_whiskers(row, axes, _FRONT, 0.6) for row in front),
        *(_point(row, axes, _FRONT, 4.5) for row in front),
        *(line for label in labels for line in _label(label)),
        *_key({row.speed_doubtful for row in rows if row.speed_basis == "measured"}),
        *_legend(named, len(front)),
    ]


def _bare(row: Suggestion) -> str:
    name = f"{row.model_id.rpartition('/')[2]} {row.quant}"
    return name if len(name) <= 48 else f"{name[:47]}…"


def _grid(axes: _Axes) -> Iterable[str]:
    for speed in axes.speeds:
        yield _line(axes.x(speed), _PLOT.top, axes.x(speed), _PLOT.bottom, _GRID)
        yield _text(axes.x(speed), _PLOT.bottom + 18, f"{speed:g}", anchor="middle", colour=_PALE)
    for score in axes.scores:
        yield _line(_PLOT.left, axes.y(score), _PLOT.right, axes.y(score), _GRID)
        yield _text(_PLOT.left - 8, axes.y(score) + 4, f"{score:g}", anchor="end", colour=_PALE)
    yield _line(_PLOT.left, _PLOT.bottom, _PLOT.right, _PLOT.bottom, _PALE)
    yield _line(_PLOT.left, _PLOT.top, _PLOT.left, _PLOT.bottom, _PALE)
    middle_x, middle_y = (_PLOT.left + _PLOT.right) / 2, (_PLOT.top + _PLOT.bottom) / 2
    yield _text(middle_x, _PLOT.bottom + 38, "decode speed, tokens per second (logarithmic)", anchor="middle")
    yield _text(20, middle_y, "score, 0 to 100", anchor="middle", turn=-90)


def _whiskers(row: Suggestion, axes: _Axes, colour: str, opacity: float) -> str:
    x, y = axes.x(row.tokens_per_second), axes.y(row.score)
    slow, fast = axes.x(row.tokens_per_second_low or row.tokens_per_second), axes.x(row.tokens_per_second_high)
    path = f"M{_n(slow)} {_n(y)}H{_n(fast)}M{_n(x)} {_n(axes.y(row.low))}V{_n(axes.y(row.high))}"
    return f'<path d="{path}" stroke="{colour}" stroke-opacity="{opacity:g}" stroke-width="0.8" fill="none"/>'


def _point(row: Suggestion, axes: _Axes, colour: str, radius: float) -> str:
    """With what it is, for whoever points at it; a dark ring where it was measured, dashed where that is doubtful."""
    is_measured, dashes = row.speed_basis == "measured", ' stroke-dasharray="2 1.5"' if row.speed_doubtful else ""
    ring = f' stroke="{_INK}" stroke-width="1.6"{dashes}' if is_measured else ""
    doubt = f", measured here {DOUBT}" if is_measured and row.speed_doubtful else ""
    says = (
        f"{row.model_id} {row.quant}: score {row.score:.1f} ({row.low:.0f} to {row.high:.0f}), "
        f"{row.tokens_per_second:.1f} tokens/s ({row.tokens_per_second_low:.1f} to {row.tokens_per_second_high:.1f})"
        f"{doubt}"
    )
    x, y = _n(axes.x(row.tokens_per_second)), _n(axes.y(row.score))
    return f'<circle cx="{x}" cy="{y}" r="{radius:g}" fill="{colour}"{ring}><title>{_safe(says)}</title></circle>'


def _staircase(front: Sequence[Suggestion], axes: _Axes) -> str:
    """What no model is beyond."""
    first, *more = front
    path = f"M{_n(_PLOT.left)} {_n(axes.y(first.score))}H{_n(axes.x(first.tokens_per_second))}"
    path += "".join(f"V{_n(axes.y(row.score))}H{_n(axes.x(row.tokens_per_second))}" for row in more)
    dashes = 'stroke-width="1.2" stroke-dasharray="5 4" fill="none"'
    return f'<path d="{path}V{_n(_PLOT.bottom)}" stroke="{_FRONT}" {dashes}/>'


def _label(label: Label) -> Iterable[str]:
    box = label.box
    if label.is_far:
        end_x, end_y = min(max(label.x, box.left), box.right), min(max(label.y, box.top), box.bottom)
        yield _line(label.x, label.y, end_x, end_y, _PALE)
    size = f'width="{_n(box.right - box.left)}" height="{_n(box.bottom - box.top)}"'
    yield f'<rect x="{_n(box.left)}" y="{_n(box.top)}" {size} fill="#ffffff" fill-opacity="0.75"/>'
    yield _text(box.left + 1, box.bottom - 3.5, label.text, size=11, length=box.right - box.left - 2)


def _key(doubts: set[bool]) -> Iterable[str]:
    """What colours and rings mean; ``doubts``: whether the measurements among the points are doubtful."""
    words = "blue: the frontier, models that no other one beats in both; thin lines: 80 % intervals"
    if True in doubts:  # no room for more in one line
        words += f"; dark ring: measured here, dashed: {DOUBT}"
    elif doubts:
        words += "; dark ring: speed measured on this machine"
    yield _text(_PLOT.right, _PLOT.top - 8, words, anchor="end", size=11, colour=_PALE)


def _legend(named: Sequence[Suggestion], count: int) -> Iterable[str]:
    """The frontier in numbers."""
    yield from _cells(_LEGEND_TOP, _HEADS, _PALE)
    for number, row in enumerate(named, start=1):
        cells = (
            str(number),
            f"{row.model_id} {row.quant}" if len(row.model_id) + len(row.quant) < 56 else _bare(row),
            f"{row.score:.1f} ({row.low:.0f} to {row.high:.0f})",
            f"{row.tokens_per_second:.0f} ({row.tokens_per_second_low:.0f} to {row.tokens_per_second_high:.0f})",
            f"{'' if row.exact else '≈'}{show_bytes(row.bytes)}",
            show_bytes(row.memory_bytes),
            most_context(row),
        )
        yield from _cells(_LEGEND_TOP + _ROW * number, cells, _INK)
    if count > len(named):
        text = f"and {count - len(named)} more"
        yield _text(_PLOT.right, _PLOT.bottom + 38, text, anchor="end", size=11, colour=_PALE)


def _cells(y: float, cells: Sequence[str], colour: str) -> Iterable[str]:
    for (x, anchor), cell in zip(_COLUMNS, cells, strict=True):
        if cell:
            yield _text(x, y, cell, anchor=anchor, colour=colour)


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    ends = f'x1="{_n(x1)}" y1="{_n(y1)}" x2="{_n(x2)}" y2="{_n(y2)}"'
    return f'<line {ends} stroke="{colour}" stroke-width="1"/>'


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", size: int = 12, weight: str = "", colour: str = "",
    turn: int = 0, length: float = 0.0,
) -> str:  # fmt: skip
    """A line of text; with ``length`` it takes that many pixels in any font, so that no label grows into another."""
    given = {
        "text-anchor": anchor if anchor != "start" else "",
        "font-size": str(size) if size != 12 else "",
        "font-weight": weight,
        "fill": colour if colour != _INK else "",
        "transform": f"rotate({turn} {_n(x)} {_n(y)})" if turn else "",
        "textLength": _n(length) if length else "",
        "lengthAdjust": "spacingAndGlyphs" if length else "",
    }
    attributes = "".join(f' {name}="{value}"' for name, value in given.items() if value)
    return f'<text x="{_n(x)}" y="{_n(y)}"{attributes}>{_safe(text)}</text>'


def _n(value: float) -> str:
    """A coordinate, to a tenth of a pixel."""
    return f"{value:.1f}".removesuffix(".0")


def _safe(text: str) -> str:
    """Text that XML can hold: names come from everybody."""
    return escape(_CONTROL.sub("�", text), quote=True)
