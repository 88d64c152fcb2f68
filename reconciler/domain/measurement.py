"""What a model really did on a machine: measured once, kept with its conditions."""

from __future__ import annotations

from datetime import datetime

from reconciler.domain.document import Frozen
from reconciler.domain.units import Bytes


class Measurement(Frozen):
    """Decode speed of one build on one machine, with everything that decides it."""

    machine: str
    """Which machine, as ``domain.measurement.machine_key`` names it: other hardware makes it another machine."""
    runtime: str
    """Kind of target or program that ran it: ``ollama``, ``llama-server``."""
    runtime_version: str | None = None
    model_id: str
    """Catalogue id; the repository's name where the catalogue does not know the model."""
    repository: str | None = None
    quant: str
    weights_bytes: Bytes
    """Size of the files that were loaded."""
    context: int
    """Tokens the runtime had allocated."""
    prompt_tokens: int
    generated_tokens: int
    runs: int = 1
    decode_tokens_per_second: float
    """Median over the runs, prompt not counted."""
    slowest: float
    fastest: float
    prefill_tokens_per_second: float | None = None
    time_to_first_token_ms: float | None = None
    loaded_bytes: Bytes | None = None
    """What the runtime says that it takes in memory, cache included."""
    on_accelerator: float | None = None
    """Share of it on the accelerator, 0 to 1."""
    measured_at: datetime
    tool_version: str = ""
