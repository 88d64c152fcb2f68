"""The ranking as a person reads it: a line a model, then what is not eligible, and what packagers would open."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.cli.views.hardware import machine_line
from reconciler.cli.views.table import columns, paint
from reconciler.cli.views.words import counted
from reconciler.domain.units import show_bytes
from reconciler.engine.suggest import PackagerOpening, Suggestion, Suggestions

_MOST_PACKAGERS = 6
_HEAD = ["model", "quant", "score", "tokens/s", "memory", "size", "evidence", "from"]
_RIGHT = frozenset({3, 4, 5})


def suggestions_text(found: Suggestions) -> str:
    """The whole ranking. Memory is at the asked context; ``≈`` marks a size that nobody stated exactly."""
    context = f"{found.context} tokens" if found.context else "4096 tokens, or what the model has"
    lines = [
        paint(f"Models for {found.profile} at {context}", "bold"),
        machine_line(found.hardware),
        "",
        *_table(found.rows),
    ]
    if not found.rows:
        lines.append(f"  nothing that is allowed fits: {_way_out(found)}")
    if found.rejected:
        lines += ["", paint("Not eligible:", "bold"), *_rejected(found.rejected)]
    lines += _packagers(found)
    return "\n".join([*lines, "", _last_line(found)])


def _table(rows: Sequence[Suggestion]) -> list[str]:
    if not rows:
        return []
    head, *body = columns([_HEAD, *(_cells(row) for row in rows)], right=_RIGHT)
    return [paint(head, "dim"), *body]


def _cells(row: Suggestion) -> list[str]:
    return [
        row.model_id,
        row.quant,
        f"{row.score:.1f} ({row.low:.0f} to {row.high:.0f})",
        f"{row.tokens_per_second:.0f}",
        show_bytes(row.memory_bytes),
        f"{'' if row.exact else '≈'}{show_bytes(row.bytes)}",
        " ".join([row.evidence, *([row.evidence_date] if row.evidence_date else [])]),
        row.packager or "its publisher",
    ]


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
    kind = {"bundled": "shipped snapshot", "fallback": "empty fallback", "live": "Hub", "cached": "Hub, cached"}
    source = kind.get(found.catalogue_origin, found.catalogue_origin)
    noun = "model" if shown == "1" else "models"
    return f"{shown} {noun}; catalogue of {found.catalogue_date} ({source})."
