"""The ranking as a person reads it: a line a model, then what is not eligible, and what packagers would open."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from reconciler.cli.views.door import view
from reconciler.cli.views.hardware import machine_line
from reconciler.cli.views.table import columns, paint
from reconciler.cli.views.words import counted
from reconciler.domain.units import show_bytes
from reconciler.engine.suggest import Overview, PackagerOpening, Suggestion, Suggestions

_MOST_PACKAGERS = 6
_MEASURED, _DOUBTFUL = "✓", "✓?"
DOUBT = "once, or while other work ran"
"""How a measurement was made that says less than it seems to."""


@dataclass(frozen=True, slots=True)
class _Column:
    """One column of the ranking."""

    head: str
    cell: Callable[[Suggestion], str]
    right: bool = False
    leaves: int = 0
    """Which goes first where the terminal is narrow, counted from 1; 0: it stays."""
    instead: Callable[[Suggestion], str] | None = None
    """A shorter cell that takes its place then."""


@view
def suggestions_text(found: Suggestions, *, width: int = 0) -> str:
    """The whole ranking.

    Args:
        found: the ranking. Memory is at the asked context; ``≈`` marks a size that nobody stated exactly.
        width: of the terminal, in characters; 0: as wide as it comes.
    """
    lines = [
        paint(f"Models for {found.profile} at {context_words(found.context)}", "bold"),
        machine_line(found.hardware),
        "",
        *_table(found.rows, width),
    ]
    if not found.rows:
        lines.append(f"  nothing that is allowed fits: {_way_out(found)}")
    if found.rejected:
        lines += ["", paint("Not eligible:", "bold"), *_rejected(found.rejected)]
    lines += _packagers(found)
    return "\n".join([*lines, "", _last_line(found)])


@view
def overview_text(found: Overview, *, width: int = 0) -> str:
    """The rankings one after another, the machine and the catalogue said once."""
    first = found.rankings[0]
    lines = [paint(f"Models at {context_words(first.context)}", "bold"), machine_line(first.hardware)]
    for one in found.rankings:
        table = _table(one.rows, width) or [f"  nothing that is allowed fits: {_way_out(one)}"]
        lines += ["", paint(f"{one.profile}, {len(one.rows)} of {one.eligible}", "bold"), *table]
        if one.rejected:
            lines += ["  not eligible:", *_rejected(one.rejected)]
    return "\n".join([*lines, "", f"{_catalogue(first)}."])


def context_words(context: int | Literal["max"] | None) -> str:
    """The context that was asked for."""
    if context == "max":
        return "the longest context that fits"
    return f"{context} tokens" if context else "4096 tokens, or what the model has"


def short_tokens(count: int | None) -> str:
    """A number of tokens in a few letters, never more than there are; k is 1024.

    >>> short_tokens(40960), short_tokens(900), short_tokens(None)
    ('40k', '900', 'none')
    """
    if count is None:
        return "none"
    return f"{count // 1024}k" if count >= 1024 else str(count)


def most_context(row: Suggestion) -> str:
    """The largest context that fits, and the model's own where memory ends it sooner."""
    if row.max_context_basis == "unknown":
        return "unknown"
    most = short_tokens(row.max_context)
    own = row.context_length
    return f"{most}/{short_tokens(own)}" if own and (row.max_context or 0) < own else most


def _speed(row: Suggestion) -> str:
    mark = f" {_DOUBTFUL if row.speed_doubtful else _MEASURED}" if row.speed_basis == "measured" else ""
    digits = 0 if row.tokens_per_second >= 10 else 1
    low, high = row.tokens_per_second_low, row.tokens_per_second_high
    return f"{row.tokens_per_second:.{digits}f} ({low:.{digits}f}-{high:.{digits}f}){mark}"


def _evidence(row: Suggestion) -> str:
    return " ".join([row.evidence, *([row.evidence_date] if row.evidence_date else [])])


_COLUMNS = (
    _Column("model", lambda row: row.model_id, leaves=4, instead=lambda row: row.model_id.rpartition("/")[2]),
    _Column("quant", lambda row: row.quant),
    _Column("size", lambda row: f"{'' if row.exact else '≈'}{show_bytes(row.bytes)}", right=True, leaves=5),
    _Column("score", lambda row: f"{row.score:.1f} ({row.low:.0f}-{row.high:.0f})"),
    _Column("tokens/s", _speed, right=True),
    _Column("context", most_context, right=True),
    _Column("memory", lambda row: show_bytes(row.memory_bytes), right=True, leaves=2),
    _Column("evidence", _evidence, leaves=3),
    _Column("from", lambda row: row.packager or "its publisher", leaves=1),
)
"""``score`` and ``tokens/s`` with their intervals; ``context``: the largest that fits, of the model's own."""


def _table(rows: Sequence[Suggestion], width: int) -> list[str]:
    """As many columns as the terminal has room for, and a word on those it has none for."""
    if not rows:
        return []
    shown = list(_COLUMNS)
    lines = _drawn(shown, rows)
    for column in sorted((one for one in _COLUMNS if one.leaves), key=lambda one: one.leaves):
        if not width or max(map(len, lines)) <= width:
            break
        place = shown.index(column)
        shown[place : place + 1] = [replace(column, cell=column.instead)] if column.instead else []
        lines = _drawn(shown, rows)
    head, *body = lines
    doubts = {row.speed_doubtful for row in rows if row.speed_basis == "measured"}
    if False in doubts:
        body.append(paint(f"  {_MEASURED} measured on this machine", "dim"))
    if True in doubts:
        body.append(paint(f"  {_DOUBTFUL} measured on this machine {DOUBT}", "dim"))
    names = ", ".join(column.head for column in _COLUMNS if column not in shown)
    if names:
        body.append(paint(f"  a wider terminal, or --json, shows in full: {names}", "dim"))
    return [paint(head, "dim"), *body]


def _drawn(shown: Sequence[_Column], rows: Sequence[Suggestion]) -> list[str]:
    right = frozenset(index for index, column in enumerate(shown) if column.right)
    cells = [[column.cell(row) for column in shown] for row in rows]
    return columns([[column.head for column in shown], *cells], right=right)


def _rejected(rows: Sequence[Suggestion]) -> list[str]:
    table = [[row.model_id, row.quant, _would(row), row.reason or "", row.message] for row in rows]
    return columns(table)


def _would(row: Suggestion) -> str:
    return f"would score {row.score:.1f}" if row.score else f"needs {show_bytes(row.memory_bytes)}"


def _packagers(found: Suggestions) -> list[str]:
    closed = [one for one in found.packagers if not one.allowed][:_MOST_PACKAGERS]
    if not closed:
        return []
    return ["", paint("Packagers that the file does not allow, and what each would open:", "bold"),
            *columns([[one.name, _opening(one)] for one in closed])]  # fmt: skip


def _opening(one: PackagerOpening) -> str:
    words = counted(one.models, "model")
    return f"{words} of the publishers you allow" + (f", {one.only_here} of them only there" if one.only_here else "")


def _way_out(found: Suggestions) -> str:
    return "suggest --all says why" if not found.rejected else "see the reasons below"


def _last_line(found: Suggestions) -> str:
    shown = f"{len(found.rows)} of {found.eligible}" if len(found.rows) < found.eligible else f"{found.eligible}"
    noun = "model" if shown == "1" else "models"
    return f"{shown} {noun}; {_catalogue(found)}."


def _catalogue(found: Suggestions) -> str:
    return f"catalogue of {found.catalogue_date} ({origin_word(found.catalogue_origin)})"


def origin_word(origin: str) -> str:
    """Where a catalogue came from."""
    kind = {"bundled": "shipped snapshot", "fallback": "empty fallback", "live": "Hub", "cached": "Hub, cached"}
    return kind.get(origin, origin)
