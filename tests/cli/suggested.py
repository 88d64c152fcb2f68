"""Rankings that no catalogue and no machine can change."""

from __future__ import annotations

from typing import Any

from reconciler.domain.hardware import HardwareReading
from reconciler.domain.units import GB, Bytes
from reconciler.engine.suggest import Suggestion, Suggestions
from tests.builders import hardware

READING = HardwareReading(hardware=hardware(), source="simulated")


def suggestion(model_id: str, score: float, *, speed: float = 88.4, **changes: Any) -> Suggestion:
    """A line that fits; the intervals are around what is given."""
    base = Suggestion(
        model_id=model_id, quant="Q4_K_M", repository=f"{model_id}-GGUF", packager=None, bytes=Bytes(5 * GB),
        exact=True, eligible=True, score=score, low=max(0.0, score - 5), high=min(100.0, score + 5),
        tokens_per_second=speed, tokens_per_second_low=speed * 0.8, tokens_per_second_high=speed * 1.25,
        speed_basis="estimated", measured_at=None, speed_confidence="high", offloaded=0.0, memory_bytes=Bytes(7 * GB),
        context=4096, max_context=40960, max_context_basis="model", prefill_tokens_per_second=2400.0,
        first_token_seconds=1.7, context_length=40960, confidence="medium", evidence="direct",
        evidence_date="2026-10-01", license="apache-2.0", ollama_tag=None, params=8_190_000_000, active_params=None,
        released="2025-04-28",
    )  # fmt: skip
    return base.model_copy(update=changes)


def ranking(*rows: Suggestion, **changes: Any) -> Suggestions:
    """A ranking for coding."""
    base = Suggestions(
        profile="coding", context=None, target="local", policy="f", hardware=READING, ranked_at="2026-11-23",
        catalogue_date="2026-11-22", catalogue_origin="bundled", eligible=len(rows), rows=rows,
    )  # fmt: skip
    return base.model_copy(update=changes)
