"""How the figures of prompts hold: prefill in tokens a second, and the time to the first token.

A backend's prefill figure is one rate, read off its rows by hand and rounded; so each device is also asked for with the
rate that the other devices alone would give, where there are others.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from reconciler.ranking.decode import weights_read

if TYPE_CHECKING:
    from fit_rows import Row

SHORT_PROMPT = 256
"""Tokens below which a prompt's time is mostly fixed cost."""


class Told(NamedTuple):
    """An estimate over what was measured, and the device."""

    ratio: float
    device: str


Figures = dict[str, float | None]


def prefill(rows: Iterable[Row]) -> dict[str, Figures]:
    """Prompt tokens a second, by backend and kind of model: rows that are not suspect, of prompts that are not short."""
    found: dict[str, list[Told]] = defaultdict(list)
    for row in rows:
        told, measured = row.question.prefill(), row.point.prefill_tps
        if told and measured and not row.point.suspect and (row.point.prompt_tokens or SHORT_PROMPT) >= SHORT_PROMPT:
            kind = "moe" if weights_read(row.subject.model).is_mixture else "dense"
            found[f"{row.backend} {kind}"].append(Told(told / measured, row.device))
    return {name: figures(told) for name, told in sorted(found.items())}


def first_token(rows: Iterable[Row]) -> dict[str, Figures]:
    """Seconds to the first token, by backend and in all: rows that are not suspect and state their prompt's length."""
    found: dict[str, list[Told]] = defaultdict(list)
    for row in rows:
        told, measured = row.question.first_token(), row.point.ttft_ms
        if told and measured and not row.point.suspect:
            for name in ("all", row.backend):
                found[name].append(Told(told * 1000 / measured, row.device))
    return {name: figures(told) for name, told in sorted(found.items())}


def figures(told: Sequence[Told]) -> Figures:
    """Rows, devices, error, bias, the share within a factor of two, and the error by the other devices' rate."""
    ratios = [one.ratio for one in told]
    return {
        "n": len(told),
        "devices": len({one.device for one in told}),
        "mdape": _error(ratios),
        "bias": statistics.median(ratios),
        "withinTwo": sum(0.5 <= ratio <= 2 for ratio in ratios) / len(ratios),
        "deviceLeftOut": _device_left_out(told),
    }


def _device_left_out(told: Sequence[Told]) -> float | None:
    """Median error where each device's rows are scaled by the bias of all others; None for one device alone."""
    scaled = []
    for device in {one.device for one in told}:
        others = [one.ratio for one in told if one.device != device]
        if not others:
            return None
        scaled += [one.ratio / statistics.median(others) for one in told if one.device == device]
    return _error(scaled)


def _error(ratios: Sequence[float]) -> float:
    return statistics.median(abs(ratio - 1) for ratio in ratios)
