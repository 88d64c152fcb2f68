"""What was measured on a machine, as the ranking uses it: it replaces the estimate of the same build, and corrects
the estimates of its kind.

* The same build (repository and quant, else model and quant; the same kind of runtime first): the measured speed,
  carried from the depth it was measured at to the asked one by the estimate's own ratio of the two.
* Any other build on the same backend: the estimate × a factor. The factor is the weighted median of measured over
  estimated, in logarithms, pulled towards 1 while little was measured (``W / (W + 0.5)``), within 0.4 to 2.5. A
  measurement weighs 1 for its own kind and less for another: mixtures and dense models differ in how they read, small
  models in that fixed times decide, spilled ones in that the slow part decides. Several measurements of one model share
  its weight. One that was timed only once counts, and raises no confidence.

The weights, the pull and the narrowing are our judgement, not fitted: no public data holds many models of one machine
with everything else equal.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from reconciler.domain.catalog import Build, CatalogModel
from reconciler.domain.estimate import Candidate, Requirement, SpeedEstimate
from reconciler.domain.hardware import Confidence, Hardware
from reconciler.domain.measurement import (
    Measurement,
    is_doubtful,
    machine_key,
    missed_accelerator,
    newest,
    was_disturbed,
)
from reconciler.ranking.decode import weights_read
from reconciler.ranking.memory import estimate_memory
from reconciler.ranking.quants import normalise
from reconciler.ranking.speed import SMALL_WEIGHTS, estimate_speed

LOWEST, HIGHEST = 0.4, 2.5
"""Bounds of the factor: beyond them the measurement or the detection is wrong, not the formula."""
_SLOWEST, _FASTEST = 1e-30, 1e30
"""Tokens a second between which a measurement is one: beyond them its ratios are no finite numbers."""
_PRIOR = 0.5
_OTHER_MIXTURE, _OTHER_OFFLOAD = 0.3, 0.25
_SMALL_FOR_BIG, _BIG_FOR_SMALL = 0.15, 0.4
_ENOUGH = 0.9
"""Summed weight from which the confidence rises one step: one measurement of the very kind."""
_NARROWED = 0.4
"""Share of an interval's width that many measurements of its kind take off; one of them takes half of that."""
_LEAST_WIDTH, _LEAST_MEASURED = math.log(1.10), math.log(1.03)
_CARRIED, _OTHER_REPOSITORY, _OTHER_PLACE = 0.25, math.log(1.05), math.log(1.3)
"""What makes the interval of a measured build wider: per unit of the logarithm that its depth is carried over; that
another repository's files were measured; that it spills at one depth and not at the other."""
_DOUBTFUL = math.log(1.3)
"""The same where other work ran, or where it was timed only once."""
_LEAST_PROMPT = 64
"""Tokens of a prompt that tell how fast prompts are read; fewer, and most of it was in the cache."""
_TO_80_PERCENT = 1.4826 * 1.28
"""From a median absolute deviation to half an 80 % interval: it is 1 / 1.4826 of a normal's standard deviation, 1.28 of
which hold 80 %."""
_BETTER: Mapping[Confidence, Confidence] = {"low": "medium", "medium": "high", "high": "high"}

_Build = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Kind:
    """What decides how far one measurement speaks for another model."""

    backend: str
    mixture: bool
    small: bool
    offloaded: bool


@dataclass(frozen=True, slots=True)
class _Ratio:
    """What one measurement says about the estimates of its kind."""

    kind: Kind
    logarithm: float
    """Of measured over estimated."""
    share: float
    """Of its model's weight."""
    sure: float
    """Share of the weight of its model's measurements without doubt; 0: it is doubtful."""


@dataclass(frozen=True, slots=True)
class Correction:
    """What the estimates of one kind are multiplied by, and how sure that is."""

    factor: float
    weight: float
    """How many measurements of the very kind this is worth."""
    spread: float
    """Half width in logarithms that the measurements themselves show around their median, 80 %."""
    sure: float = 0.0
    """``weight`` of those that are not doubtful alone: what raises the confidence."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """The measurements of one machine, as the ranking uses them. Compared by what was measured.

    Without measurements the identity. Pure; the order of the measurements does not matter.
    """

    measurements: tuple[Measurement, ...] = ()
    hardware: Hardware | None = None
    runtime: str | None = None
    """The program that the asked target runs; what it measured itself goes before what another one did."""
    _builds: dict[_Build, Measurement] = field(default_factory=dict, compare=False, repr=False)
    _names: frozenset[str] = field(default=frozenset(), compare=False, repr=False)
    _ratios: tuple[_Ratio, ...] = field(default=(), compare=False, repr=False)
    _corrections: dict[Kind, Correction] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def of(
        cls,
        measurements: Iterable[Measurement],
        models: Mapping[str, CatalogModel],
        hardware: Hardware,
        *,
        runtime: str | None = None,
    ) -> Calibration:
        """Of what was measured on this very machine; measurements of others are passed over.

        Args:
            measurements: of any machine.
            models: of the catalogue, by id; a measured model that is not there corrects nothing but itself.
            hardware: the machine that is judged.
            runtime: ``ollama``, ``llama-server``; None: no preference.
        """
        machine = machine_key(hardware)
        own = newest(one for one in measurements if one.machine == machine and _is_usable(one))
        if not own:
            return UNCALIBRATED
        at_home = tuple(one for one in own if not missed_accelerator(one, hardware))
        # Ollama decides by itself where a model lies, and will do so again; a server we started may be the wrong one
        builds = _by_build((one for one in own if one.runtime == "ollama" or one in at_home), runtime)
        names = frozenset(name for name, _ in builds)
        telling = tuple(one for one in at_home if not was_disturbed(one, hardware))
        return cls(own, hardware, runtime, builds, names, _ratios(telling, models, hardware))

    def apply(self, candidate: Candidate, speed: SpeedEstimate) -> SpeedEstimate:
        """The estimate, replaced by what was measured of this very build, else corrected by its kind."""
        if not self.measurements or speed.tokens_per_second <= 0:
            return speed
        if candidate.repository.id in self._names or candidate.model.id in self._names:
            measured = self.measurement_of(candidate)
            if measured is not None and self.hardware is not None:
                return _replaced(candidate, speed, measured, self.hardware)
        return _corrected(speed, self.correction(_kind(candidate.model, speed, self.hardware)))

    def measurement_of(self, candidate: Candidate) -> Measurement | None:
        """What was measured of this build: its own repository's first, then another's of the same model and quant."""
        quant = normalise(candidate.quant).canonical
        found = self._builds.get((candidate.repository.id, quant))
        return found or self._builds.get((candidate.model.id, quant))

    def correction(self, kind: Kind) -> Correction:
        """What the measurements say about estimates of a kind; computed once each."""
        found = self._corrections.get(kind)
        if found is None:
            found = self._corrections[kind] = _correction(kind, self._ratios)
        return found


UNCALIBRATED = Calibration()


def _is_usable(one: Measurement) -> bool:
    return _SLOWEST < one.decode_tokens_per_second < _FASTEST


def _by_build(measurements: Iterable[Measurement], runtime: str | None) -> dict[_Build, Measurement]:
    """By (repository, quant) and (model, quant): of the asked runtime before others, then the newest."""
    found: dict[_Build, Measurement] = {}
    for one in sorted(measurements, key=lambda one: (one.runtime == runtime, one.recency)):
        quant = normalise(one.quant).canonical
        for name in (one.model_id, one.repository):
            if name:
                found[name, quant] = one
    return found


def _estimated(model: CatalogModel, measured: Measurement, hardware: Hardware) -> SpeedEstimate:
    """What would have been estimated under the conditions of the measurement."""
    build = Build(quant=measured.quant, bytes=measured.weights_bytes, exact=True)
    allocated = Requirement(context=max(1, measured.context))
    memory = estimate_memory(model, build, allocated, hardware)
    return estimate_speed(model, build, memory, hardware, allocated, depth=measured.depth)


def _ratios(
    measurements: tuple[Measurement, ...], models: Mapping[str, CatalogModel], hardware: Hardware
) -> tuple[_Ratio, ...]:
    counts = Counter(one.model_id for one in measurements)
    sure = Counter(one.model_id for one in measurements if not is_doubtful(one, hardware))
    found = []
    for one in measurements:
        model = models.get(one.model_id)
        estimate = _estimated(model, one, hardware) if model else None
        if model and estimate and estimate.tokens_per_second > 0:
            ratio = math.log(one.decode_tokens_per_second / estimate.tokens_per_second)
            of_sure = 0.0 if is_doubtful(one, hardware) else 1 / sure[one.model_id]
            found.append(_Ratio(_kind(model, estimate, hardware), ratio, 1 / counts[one.model_id], of_sure))
    return tuple(found)


def _kind(model: CatalogModel, speed: SpeedEstimate, hardware: Hardware | None) -> Kind:
    weights = model.params or model.gguf_weights or 0
    spills = hardware is not None and bool(hardware.devices) and speed.offloaded > 0
    return Kind(speed.backend, weights_read(model).is_mixture, 0 < weights < SMALL_WEIGHTS, spills)


def _relevance(measured: Kind, asked: Kind) -> float:
    if measured.backend != asked.backend:
        return 0.0
    weight = 1.0 if measured.mixture == asked.mixture else _OTHER_MIXTURE
    if measured.offloaded != asked.offloaded:
        weight *= _OTHER_OFFLOAD
    if measured.small != asked.small:
        weight *= _SMALL_FOR_BIG if measured.small else _BIG_FOR_SMALL
    return weight


def _correction(kind: Kind, ratios: tuple[_Ratio, ...]) -> Correction:
    weighed = [(one.logarithm, one.share * _relevance(one.kind, kind)) for one in ratios]
    weighed = sorted((ratio, weight) for ratio, weight in weighed if weight > 0)
    total = math.fsum(weight for _, weight in weighed)
    if total <= 0:
        return Correction(1.0, 0.0, 0.0)
    middle = _weighted_median(weighed)
    off = sorted((abs(ratio - middle), weight) for ratio, weight in weighed)
    factor = math.exp(_within(middle, math.log(LOWEST), math.log(HIGHEST)) * total / (total + _PRIOR))
    sure = math.fsum(one.sure * _relevance(one.kind, kind) for one in ratios)
    return Correction(factor, total, _TO_80_PERCENT * _weighted_median(off) * total / (total + 1), sure)


def _weighted_median(weighed: list[tuple[float, float]]) -> float:
    """The value with half of the weight on either side; between two, their middle. ``weighed`` is in order."""
    half = math.fsum(weight for _, weight in weighed) / 2
    passed = 0.0
    for index, (value, weight) in enumerate(weighed):
        passed += weight
        if math.isclose(passed, half) and index + 1 < len(weighed):
            return (value + weighed[index + 1][0]) / 2
        if passed >= half:
            return value
    return weighed[-1][0]


def _within(value: float, low: float, high: float) -> float:
    return min(high, max(low, value))


def _corrected(speed: SpeedEstimate, correction: Correction) -> SpeedEstimate:
    if correction.weight <= 0:
        return speed
    narrowing = 1 - _NARROWED * correction.weight / (correction.weight + 1)
    least = max(_LEAST_WIDTH, correction.spread)

    def half(width: float) -> float:
        return max(least, width * narrowing)

    value = speed.tokens_per_second * correction.factor
    down = math.log(speed.tokens_per_second / speed.low) if speed.low > 0 else math.log(HIGHEST)
    up = math.log(max(speed.high, speed.tokens_per_second) / speed.tokens_per_second)
    confidence = _BETTER[speed.confidence] if correction.sure >= _ENOUGH else speed.confidence
    return replace(
        _at(speed, value), low=value * math.exp(-half(down)), high=value * math.exp(half(up)), confidence=confidence
    )


def _replaced(candidate: Candidate, speed: SpeedEstimate, measured: Measurement, hardware: Hardware) -> SpeedEstimate:
    """The measured speed at the asked depth. The further the depth is carried, the wider.

    The confidence rises by one step, as that of its kind does: it counts in the score, and being measured must not make
    a model rank above others that are as good.
    """
    there = _estimated(candidate.model, measured, hardware)
    carried = speed.tokens_per_second / there.tokens_per_second if there.tokens_per_second > 0 else 1.0
    middle = measured.decode_tokens_per_second
    value = middle * carried
    width = max(_LEAST_MEASURED, _spread(middle, measured.slowest), _spread(middle, measured.fastest))
    width += _CARRIED * abs(math.log(carried))
    if measured.repository != candidate.repository.id:
        width += _OTHER_REPOSITORY
    doubtful = is_doubtful(measured, hardware)
    if doubtful:
        width += _DOUBTFUL
    if (there.offloaded > 0) != (speed.offloaded > 0):
        width += _OTHER_PLACE
    found = replace(
        _at(speed, value),
        low=value * math.exp(-width),
        high=value * math.exp(width),
        confidence=speed.confidence if doubtful else _BETTER[speed.confidence],
        basis="measured",
        measured_at=measured.measured_at.date().isoformat(),
        doubtful=doubtful,
    )
    return _prompt_read(found, there, measured, on_accelerator=bool(hardware.devices))


def _prompt_read(
    speed: SpeedEstimate, there: SpeedEstimate, measured: Measurement, *, on_accelerator: bool
) -> SpeedEstimate:
    """With the measured speed of prompts, carried to the asked length as the estimates of both differ.

    A short prompt keeps no accelerator busy, so there it is a lower bound, and no surer than the estimate.
    """
    read = measured.prefill_tokens_per_second
    here, before = speed.prefill_tokens_per_second, there.prefill_tokens_per_second
    if read is None or not _SLOWEST < read < _FASTEST or measured.prompt_tokens < _LEAST_PROMPT:
        return speed
    if here is None and before is None:
        return replace(
            speed, prefill_tokens_per_second=read, first_token_seconds=None, prefill_confidence="low",
            prefill_basis="measured",
        )  # fmt: skip
    if here is None or before is None:  # it spills at one length and not at the other
        return speed
    value, one_token = read * here / before, 1 / speed.tokens_per_second
    first, confidence = speed.first_token_seconds, speed.prefill_confidence or "low"
    return replace(
        speed,
        prefill_tokens_per_second=value,
        first_token_seconds=None if first is None else max(0.0, first - one_token) * here / value + one_token,
        prefill_confidence=confidence if speed.doubtful or on_accelerator else _BETTER[confidence],
        prefill_basis="measured",
    )


def _at(speed: SpeedEstimate, value: float) -> SpeedEstimate:
    """The estimate at another speed, with what follows from it. Reading the prompt is another matter, and stays."""
    first = speed.first_token_seconds
    if first is not None:
        first = max(0.0, first - 1 / speed.tokens_per_second) + 1 / value
    return replace(
        speed,
        tokens_per_second=value,
        effective_bandwidth_gbps=speed.effective_bandwidth_gbps * value / speed.tokens_per_second,
        first_token_seconds=first,
    )


def _spread(middle: float, end: float) -> float:
    """Half width in logarithms up to one end of the runs; beyond a factor of e² nothing is known any better."""
    ratio = end / middle
    return min(2.0, abs(math.log(ratio))) if 0 < ratio < math.inf else 0.0
