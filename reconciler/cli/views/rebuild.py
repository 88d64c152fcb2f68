"""A record made again from its journal, as a person reads it: what is ours again, and why the rest is not."""

from __future__ import annotations

from reconciler.cli.views.door import view
from reconciler.cli.views.table import paint
from reconciler.domain.units import show_bytes
from reconciler.engine.rebuild import Judged, Rebuilt


@view
def rebuilt_text(found: Rebuilt) -> str:
    """Everything the journal calls ours, one line each, and the steps it left open."""
    lines = [f"{found.lost}", f"The journal of {found.name} and the targets say:"]
    lines += [paint(f"  = {_line(one)}", "green") for one in found.owned]
    lines += [paint(f"  x {_line(one)}", "yellow") for one in found.left_out]
    if not found.owned and not found.left_out:
        lines.append("  nothing is ours")
    lines += [
        f"  … {one.action} {one.name} on {one.target_name}: begun; the next apply finishes or undoes it"
        for one in found.intents
    ]
    lines += [paint(f"note: {note}", "yellow") for note in found.notes]
    lines.append(f"{len(found.owned)} ours again, {len(found.left_out)} left out. No target is touched.")
    return "\n".join(lines)


def _line(one: Judged) -> str:
    size = f" ({show_bytes(one.bytes)})" if one.bytes else ""
    alias = "alias " if one.kind == "alias" else ""
    return f"{alias}{one.name} on {one.target}{size}: {one.why}"
