"""How well the estimates hold on measured points: medians of error and bias, and what the intervals cover."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from reconciler.domain.catalog import Catalogue
from reconciler.domain.estimate import MemoryEstimate, SpeedEstimate
from reconciler.domain.hardware import Hardware
from reconciler.domain.units import GIB, Bytes
from reconciler.formats.measured_file import MeasuredPoint
from reconciler.ranking.decode import CONSTANTS, SpeedConstants
from reconciler.ranking.measured import Subject, subjects
from reconciler.ranking.memory import memory_model
from reconciler.ranking.speed import SMALL_WEIGHTS, estimate_speed

SMALL_BILLIONS = SMALL_WEIGHTS / 1e9
USUAL_PROMPT = 512
"""Tokens. Source: llama-bench's default ``-p``."""


@dataclass(frozen=True, slots=True)
class ScoredRow:
    """One point with what was estimated for it, in the unit of ``measured``."""

    id: str
    estimate: float
    low: float
    high: float
    measured: float

    @property
    def ratio(self) -> float:
        """Estimate over measured."""
        return self.estimate / self.measured

    @property
    def error(self) -> float:
        return abs(self.ratio - 1)

    @property
    def covered(self) -> bool:
        """Within the 80 % interval."""
        return self.low <= self.measured <= self.high

    @property
    def width(self) -> float:
        """Upper end over lower; infinite where the lower is 0."""
        return self.high / self.low if self.low > 0 else float("inf")


@dataclass(frozen=True, slots=True)
class GroupScore:
    """A group of rows in five numbers. Without rows there is nothing to say: None."""

    n: int
    mdape: float | None
    """Median of ``error``: 0.1 is 10 %."""
    bias: float | None
    """Median of ``ratio``."""
    coverage80: float | None
    """Share of the rows within their 80 % interval."""
    width80: float | None
    """Median of ``width``."""

    @classmethod
    def of(cls, rows: Sequence[ScoredRow]) -> GroupScore:
        """The score of these rows."""
        if not rows:
            return cls(0, None, None, None, None)
        return cls(
            len(rows),
            statistics.median(row.error for row in rows),
            statistics.median(row.ratio for row in rows),
            sum(row.covered for row in rows) / len(rows),
            statistics.median(row.width for row in rows),
        )


Groups = tuple[tuple[str, Callable[[MeasuredPoint], bool]], ...]
"""Names of groups, each with whether a point belongs to it."""


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How well the estimates of one quantity hold, on every counted row and by group."""

    groups: tuple[tuple[str, GroupScore], ...]
    """In the order of the groups that were asked for; ``all`` is the first."""
    rows: tuple[ScoredRow, ...]
    """In the order of the points."""

    @classmethod
    def of(cls, rows: Sequence[tuple[MeasuredPoint, ScoredRow]], groups: Groups) -> Accuracy:
        """Of these rows, each with its point."""
        return cls(
            tuple((name, GroupScore.of([row for point, row in rows if belongs(point)])) for name, belongs in groups),
            tuple(row for _, row in rows),
        )

    def group(self, name: str) -> GroupScore:
        """The group of that name."""
        return dict(self.groups)[name]


SPEED_GROUPS: Groups = (
    ("all", lambda _: True),
    ("dense", lambda point: not point.moe),
    ("moe", lambda point: bool(point.moe)),
    ("under_2b", lambda point: point.params_b < SMALL_BILLIONS),
)


def is_counted(point: MeasuredPoint) -> bool:
    """Whether a point counts for speed: timed, on its device alone, of known bandwidth. Suspect ones count."""
    return point.decode_tps is not None and point.bw_gbps is not None and not point.likely_spill


@dataclass(frozen=True, slots=True)
class SpeedQuestion:
    """A measured point with its memory and machine: to be asked with any constants."""

    subject: Subject
    memory: MemoryEstimate
    hardware: Hardware

    @classmethod
    def of(cls, subject: Subject) -> SpeedQuestion:
        """The point; with room for what it needs, since it is on its device alone by its file's word, unless it is
        known to have spilled.
        """
        memory = memory_model(subject.model, subject.requirement, subject.hardware).estimate(subject.build)
        hardware = subject.hardware
        if not subject.point.likely_spill and memory.total_bytes > hardware.capacity_bytes:
            hardware = _with_room(hardware, memory.total_bytes)
        return cls(subject, memory, hardware)

    def estimate(self, constants: SpeedConstants = CONSTANTS) -> SpeedEstimate:
        """What the ranking says, in the measure's own terms: slower by the prompt's time where the measure has it."""
        it = self.subject
        speed = estimate_speed(
            it.model, it.build, self.memory, self.hardware, it.requirement,
            depth=it.depth, runner=it.runner, constants=constants,
        )  # fmt: skip
        if not it.point.with_prompt:
            return speed
        less = it.generated / (it.generated + constants.prompt_worth)
        return replace(
            speed, tokens_per_second=speed.tokens_per_second * less, low=speed.low * less, high=speed.high * less
        )

    def prefill(self, constants: SpeedConstants = CONSTANTS) -> float | None:
        """Tokens of the point's prompt a second, 512 where it does not say how long that was; None as the ranking."""
        return self._at_prompt(constants).prefill_tokens_per_second

    def first_token(self, constants: SpeedConstants = CONSTANTS) -> float | None:
        """Seconds until the first token of the point's own prompt, whatever stood in the cache before; None where the
        point does not say how long that was, or as the ranking.
        """
        prompt, speed = self.subject.point.prompt_tokens, self._at_prompt(constants)
        if not prompt or not speed.prefill_tokens_per_second:
            return None
        return prompt / speed.prefill_tokens_per_second + 1 / speed.tokens_per_second

    def _at_prompt(self, constants: SpeedConstants) -> SpeedEstimate:
        it = self.subject
        prompt = it.depth - it.generated / 2
        return estimate_speed(
            it.model, it.build, self.memory, self.hardware, it.requirement,
            depth=prompt if prompt > 0 else USUAL_PROMPT, runner=it.runner, constants=constants,
        )  # fmt: skip


def _with_room(hardware: Hardware, total: int) -> Hardware:
    need = Bytes(total + GIB)
    devices = tuple(device.model_copy(update={"memory_bytes": need}) for device in hardware.devices)
    return hardware.model_copy(update={"devices": devices, "ram_bytes": max(need, hardware.ram_bytes)})


def score_speed(
    points: Iterable[MeasuredPoint], catalogue: Catalogue, constants: SpeedConstants = CONSTANTS
) -> Accuracy:
    """The ranking's own speed estimates against what was measured, over every counted point.

    Args:
        points: any; those that do not count are passed over.
        catalogue: where the models' dimensions and the sizes of their files come from.
        constants: of the speed model.
    """
    counted = [subject for subject in subjects(points, catalogue) if is_counted(subject.point)]
    return speed_score([(subject, SpeedQuestion.of(subject).estimate(constants)) for subject in counted])


def speed_score(estimated: Sequence[tuple[Subject, SpeedEstimate]]) -> Accuracy:
    """Estimates that somebody else made for these subjects, in groups; rows in tokens a second."""
    return Accuracy.of([(subject.point, scored(subject, speed)) for subject, speed in estimated], SPEED_GROUPS)


def scored(subject: Subject, speed: SpeedEstimate) -> ScoredRow:
    """One subject with its estimate. The point must have been timed."""
    return ScoredRow(
        subject.point.id, speed.tokens_per_second, speed.low, speed.high, subject.point.decode_tps or float("nan")
    )
