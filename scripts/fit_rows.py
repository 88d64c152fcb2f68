"""The measured rows that the speed fit counts, each as the question that it answers."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

from reconciler.formats.measured_file import MeasuredPoint
from reconciler.integrations.catalog.bundled import load_bundled
from reconciler.ranking.decode import SpeedConstants, backend_key
from reconciler.ranking.measured import Subject, subjects
from reconciler.ranking.scoring import SpeedQuestion, is_counted

CPU_BANDWIDTH = {"AMD Ryzen 7 7840HS": 89.6}
"""10⁹ bytes a second: dual-channel DDR5-5600, computed."""


@dataclass(frozen=True, slots=True)
class Row:
    """A point as a question, with what the folds are made of."""

    question: SpeedQuestion
    measured: float

    @property
    def subject(self) -> Subject:
        return self.question.subject

    @property
    def point(self) -> MeasuredPoint:
        return self.question.subject.point

    @property
    def device(self) -> str:
        return self.point.hardware

    @property
    def family(self) -> str:
        return self.subject.model.lineage

    @property
    def backend(self) -> str:
        """The set of constants the row uses."""
        hardware = self.question.hardware
        return backend_key(hardware.platform, self.subject.runner, hardware.devices[0] if hardware.devices else None)

    @property
    def is_stated(self) -> bool:
        """Whether the row's bandwidth is its file's: only those are counted, and fitted on."""
        return self.device not in CPU_BANDWIDTH

    @property
    def pair(self) -> str:
        return f"{self.device}|{self.subject.model.id}"

    def error(self, constants: SpeedConstants) -> float:
        """|log(estimate / measured)|, rounded below 3 %, nearly flat beyond a factor of 1.8."""
        log = abs(math.log(self.question.estimate(constants).tokens_per_second / self.measured))
        bent = log if log > 0.03 else log * log / 0.06 + 0.015
        return min(bent, 0.6) + 0.1 * max(0.0, bent - 0.6)


def rows_of(points: Sequence[MeasuredPoint]) -> list[Row]:
    """The rows that are counted or fitted on."""
    known = [
        dataclasses.replace(point, bw_gbps=CPU_BANDWIDTH.get(point.hardware)) if point.bw_gbps is None else point
        for point in points
    ]
    return [
        Row(SpeedQuestion.of(subject), subject.point.decode_tps or math.nan)
        for subject in subjects(known, load_bundled())
        if is_counted(subject.point)
    ]
