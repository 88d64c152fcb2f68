"""What a model really did on a machine: measured once, kept with its conditions."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from datetime import datetime

from reconciler.domain.document import Frozen
from reconciler.domain.hardware import Hardware
from reconciler.domain.units import GIB, Bytes

MOST_KEPT = 200
"""Measurements of one machine; beyond that the oldest go."""
MOST_LOAD = 0.3
"""Share of the processors that other work may take; a desktop at rest takes a tenth."""
SLOWEST, FASTEST = 1e-3, 1e6
"""Tokens a second between which a measurement is one."""
_SURE_RUNS = 2
"""One run cannot tell how much the next would differ."""
SHORTEST_RUN = 8
"""Tokens; a run that ended earlier times little but its own start."""
PROMPT = (
    "A lighthouse keeper wrote one line in the log for every hour of the night. At one the sea was calm and a fishing "
    "boat passed to the east. At two the wind turned, and rain came from the north with small hail in it. At three the "
    "lamp needed oil, so he climbed the stairs, counted one hundred and twelve steps, and filled it to the brim. At "
    "four a larger ship answered his signal twice and went on towards the harbour. At five the clouds opened, the "
    "stars came out, and the keeper wrote down everything that he could see from the gallery, in the order in which "
    "he saw it, with the time, the direction and the distance of each:"
)
"""What every model is given to go on from, raw: about 130 tokens, in words of ours."""


class Measurement(Frozen):
    """Decode speed of one build on one machine, with everything that decides it."""

    machine: str
    """Which machine, as ``machine_key`` names it: other hardware makes it another machine."""
    runtime: str
    """Kind of target or program that ran it: ``ollama``, ``llama-server``."""
    runtime_version: str | None = None
    model_id: str
    """Catalogue id; the repository's or installed name where the catalogue does not know the model."""
    repository: str | None = None
    quant: str
    name: str = ""
    """As it was installed."""
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
    """Of this prompt, once the model was loaded."""
    load_seconds: float | None = None
    """From the start of loading until the model answered; None where it was loaded already."""
    loaded_bytes: Bytes | None = None
    """What the runtime says that it takes in memory, cache included."""
    on_accelerator: float | None = None
    """Share of it on the accelerator, 0 to 1."""
    other_load: float | None = None
    """Share of the host's processors that other work took when it began, 0 to 1."""
    measured_at: datetime
    tool_version: str = ""

    @property
    def depth(self) -> float:
        """Tokens already in the cache when a token was made, on average."""
        return self.prompt_tokens + self.generated_tokens / 2

    @property
    def conditions(self) -> tuple[str, str, str, str, str, int]:
        """What a newer measurement replaces an older one by."""
        return self.machine, self.runtime, self.model_id, self.repository or "", self.quant, self.context

    @property
    def recency(self) -> tuple[float, str]:
        """Sorts the newest last, and two of one instant the same way whatever their order."""
        return self.measured_at.timestamp(), self.model_dump_json()


class Trial(Frozen):
    """What a meter is asked to do with one model."""

    context: int
    """Tokens to allocate; a model that is loaded already keeps what it has."""
    generate_tokens: int = 64
    runs: int = 3
    max_seconds: float = 60.0
    """For everything together, loading included."""


class Run(Frozen):
    """One prompt and its answer, as the runtime timed them."""

    prompt_tokens: int
    prompt_seconds: float
    generated_tokens: int
    seconds: float
    """Of generating alone."""

    @property
    def tokens_per_second(self) -> float:
        return self.generated_tokens / self.seconds


class Timing(Frozen):
    """What a meter saw of one model; at least one run."""

    runtime: str
    runtime_version: str | None = None
    context: int
    runs: tuple[Run, ...]
    load_seconds: float | None = None
    loaded_bytes: Bytes | None = None
    on_accelerator: float | None = None
    other_load: float | None = None

    @property
    def speeds(self) -> tuple[float, ...]:
        return tuple(run.tokens_per_second for run in self.runs)

    @property
    def prompt_speed(self) -> float | None:
        """Tokens a second of reading the prompt; None where the runtime did not time it."""
        timed = [run.prompt_tokens / run.prompt_seconds for run in self.runs if run.prompt_seconds > 0]
        return _median(timed)

    @property
    def first_token_ms(self) -> float | None:
        timed = [run.prompt_seconds + run.seconds / run.generated_tokens for run in self.runs if run.prompt_seconds > 0]
        middle = _median(timed)
        return None if middle is None else middle * 1000


def _median(values: list[float]) -> float | None:
    from statistics import median  # 10 ms that nobody needs who only plans

    return median(values) if values else None


class Measurements(Frozen):
    """What is kept of one machine, and what a person should know about the keeping."""

    kept: tuple[Measurement, ...] = ()
    notes: tuple[str, ...] = ()


def flaw_of(one: Measurement) -> str | None:
    """Why it cannot be what a machine did; None where it can."""
    optional = (one.prefill_tokens_per_second, one.time_to_first_token_ms, one.load_seconds)
    speeds = (one.decode_tokens_per_second, one.slowest, one.fastest)
    for value in speeds:
        if not SLOWEST <= value <= FASTEST:
            return f"{value:g} tokens/s is no speed"
    if any(value is not None and not 0 <= value < math.inf for value in optional):
        return "one of its times is none"
    return None


def machine_key(hardware: Hardware) -> str:
    """The same for the same hardware, whatever is free or running; memory counts in whole GiB.

    A kernel update moves the total by a few megabytes, and the bandwidth is what we think of a device, not what it is.
    """
    devices = sorted((device.name, round(device.memory_bytes / GIB)) for device in hardware.devices)
    facts = [hardware.platform, devices, round(hardware.ram_bytes / GIB), hardware.cpu_name]
    return hashlib.sha256(json.dumps(facts, separators=(",", ":")).encode()).hexdigest()[:16]


def was_disturbed(one: Measurement, hardware: Hardware) -> bool:
    """Whether other work slowed it: where models run on the processors, and these had plenty to do."""
    return not hardware.devices and (one.other_load or 0.0) > MOST_LOAD


def is_doubtful(one: Measurement, hardware: Hardware) -> bool:
    """Whether it says less than it seems to: other work slowed it, or it was timed only once."""
    return one.runs < _SURE_RUNS or was_disturbed(one, hardware)


def missed_accelerator(one: Measurement, hardware: Hardware) -> bool:
    """Whether it ran beside accelerators that could hold it: less than half of what fits there was there.

    A server built without the machine's backend, or told to leave it alone, says nothing about the machine.
    """
    if not hardware.devices or one.on_accelerator is None:
        return False
    fits = min(1.0, hardware.vram_bytes / max(1, one.loaded_bytes or one.weights_bytes))
    return one.on_accelerator < 0.5 * fits


def measured_by(runtime: str) -> str:
    """The program that models of a kind of target are measured with, as ``Measurement.runtime`` names it.

    >>> measured_by("store"), measured_by("ollama")
    ('llama-server', 'ollama')
    """
    return "llama-server" if runtime == "store" else runtime


def newest(measurements: Iterable[Measurement], *, at_most: int = MOST_KEPT) -> tuple[Measurement, ...]:
    """The newest of each build, runtime and context, oldest first, at most so many per machine; in no other order."""
    latest: dict[tuple[str, str, str, str, str, int], Measurement] = {}
    for one in sorted(measurements, key=lambda found: found.recency):
        latest[one.conditions] = one
    counted: dict[str, int] = {}
    kept = []
    for one in sorted(latest.values(), key=lambda found: found.recency, reverse=True):
        counted[one.machine] = counted.get(one.machine, 0) + 1
        if counted[one.machine] <= at_most:
            kept.append(one)
    return tuple(reversed(kept))
