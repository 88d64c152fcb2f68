"""What was measured as a person reads it: a line a model, beside what was expected of it."""

from __future__ import annotations

from reconciler.cli.views.door import view
from reconciler.cli.views.table import columns, paint
from reconciler.cli.views.words import counted
from reconciler.domain.measurement import Measurement
from reconciler.domain.units import show_bytes
from reconciler.engine.measure import MeasureReport, MeasureRow, State

_TITLES: tuple[tuple[State, str, str], ...] = (
    ("measured", "Measured:", "green"),
    ("planned", "Would be measured:", "bold"),
    ("skipped", "Not measured:", "yellow"),
    ("failed", "Failed:", "red"),
)


@view
def measure_text(report: MeasureReport) -> str:
    """Everything that was looked at, by what came of it; tokens a second with the range over the runs."""
    lines: list[str] = []
    for state, title, colour in _TITLES:
        rows = report.of(state)
        if rows:
            lines += [paint(title, colour), *columns([_cells(row) for row in rows])]
            lines += [f"  note: {note}" for note in dict.fromkeys(note for row in rows for note in row.notes)]
            lines += [f"  hint: {hint}" for hint in dict.fromkeys(row.hint for row in rows if row.hint)]
    return "\n".join([*lines, *([""] if lines else []), _last_line(report)])


def _cells(row: MeasureRow) -> list[str]:
    place = [row.name or "(target)", row.target]
    if row.measurement is not None:
        return [*place, *_numbers(row.measurement), _expected(row)]
    if row.state == "planned":
        return [*place, show_bytes(row.bytes), f"{row.context} tokens", _expected(row)]
    return [*place, row.reason]


def _numbers(found: Measurement) -> list[str]:
    speed = f"{_speed(found.decode_tokens_per_second)} tokens/s ({_speed(found.slowest)} to {_speed(found.fastest)})"
    prompt = f"prompt {_speed(found.prefill_tokens_per_second)}/s" if found.prefill_tokens_per_second else ""
    return [speed, prompt, _memory(found), f"{found.context} tokens"]


def _memory(found: Measurement) -> str:
    if found.loaded_bytes is None:
        return ""
    where = f", {found.on_accelerator:.0%} on the accelerator" if found.on_accelerator else ""
    return f"{show_bytes(found.loaded_bytes)} loaded{where}"


def _expected(row: MeasureRow) -> str:
    if row.expected is None:
        return "no estimate: the catalogue does not know it"
    expected = row.expected
    return f"estimated {_speed(expected.tokens_per_second)} ({_speed(expected.low)} to {_speed(expected.high)})"


def _speed(value: float) -> str:
    """Three digits at most: more is noise."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"


def _last_line(report: MeasureReport) -> str:
    measured, planned = report.of("measured"), report.of("planned")
    if measured:
        known = sum(row.expected is not None for row in measured)
        told = f"{counted(len(measured), 'model')} measured; "
        if known == len(measured):
            return f"{told}plan, suggest and explain use it from now on."
        if not known:
            return f"{told}kept, but the catalogue does not know it: no plan uses it."
        return f"{told}plan, suggest and explain use {known} from now on: the catalogue does not know the rest."
    if planned:
        return f"{counted(len(planned), 'model')} would be measured. Nothing was loaded."
    return "Nothing was measured." if report.rows else "Nothing to measure: no model is installed."
