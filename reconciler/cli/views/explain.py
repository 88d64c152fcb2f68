"""One candidate as a person reads it: the verdict first, then every number with what it rests on."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.cli.views.door import view
from reconciler.cli.views.hardware import machine_line
from reconciler.cli.views.suggest import DOUBT, origin_word
from reconciler.cli.views.table import columns, paint
from reconciler.domain.estimate import MemoryEstimate, QualityEstimate, SpeedEstimate
from reconciler.domain.units import show_bytes
from reconciler.engine.explain import Explanation, Rung, Sibling
from reconciler.ranking.score import READING_SPEED

_MOST_SIBLINGS = 12
_MOST_LENDERS = 3
_MOST_PARTS = 12
_BASIS = {
    "architecture": "from the model's real dimensions",
    "seed-formula": "approximated: its dimensions are not known",
    "file": "the files' size",
    "approximate-file": "the files' size, rounded by its source",
    "bits-per-weight": "computed from bits per weight",
}


@view
def explanation_text(found: Explanation) -> str:
    """The whole explanation."""
    lines = [
        paint(f"{found.model_id} {found.quant}", "bold"),
        *columns(_identity(found)),
        "",
        paint(_verdict(found), "green" if found.eligible else "red"),
        *_remedies(found.remedies),
        "",
        f"Memory at {_conditions(found)}, {machine_line(found.hardware)}",
        *columns(_memory(found.memory, found.capacity_bytes)),
        "",
        *_contexts(found.contexts),
        "Speed",
        *columns(_speed(found.speed, accelerated=bool(found.hardware.hardware.devices))),
        "",
        f"Quality for {found.profile}",
        *columns([*_quality(found.quality), *_score(found)]),
        *_evidence(found.quality),
    ]
    if len(found.siblings) > 1:
        lines += ["", "Builds", *_siblings(found.siblings)]
    return "\n".join([*lines, "", f"catalogue of {found.catalogue_date} ({origin_word(found.catalogue_origin)})"])


def _verdict(found: Explanation) -> str:
    purpose = f"slot {found.slot} ({found.profile})" if found.slot else found.profile
    if not found.eligible:
        return f"rejected for {purpose} ({found.reason}): {found.message}"
    place = f", number {found.rank} of {found.ranked} models" if found.rank else ""
    return (
        f"eligible for {purpose}: score {found.score:.1f} ({found.low:.0f} to {found.high:.0f}){place}, "
        f"about {found.speed.tokens_per_second:.0f} tokens/s"
        f"{f'; {found.over_budget}' if found.over_budget else ''}"
    )


def _remedies(remedies: Sequence[str]) -> list[str]:
    return ["What would change that:", *(f"  - {remedy}" for remedy in remedies)] if remedies else []


def _conditions(found: Explanation) -> str:
    cache = f" with a {found.kv_cache} cache" if found.kv_cache != "f16" else ""
    several = f" for each of {found.parallel} conversations" if found.parallel > 1 else ""
    return f"{found.context} tokens{several}{cache}"


def _contexts(rungs: Sequence[Rung]) -> list[str]:
    """What fits and what does not, context by context."""
    if len(rungs) < 2:
        return []
    smaller = rungs[0].small_cache
    head = ["tokens", "memory", "", "tokens/s", *([f"with a {smaller} cache"] if smaller else [])]
    rows = [
        [str(rung.context), show_bytes(rung.memory_bytes), _fits(rung.fits),
         f"{rung.tokens_per_second:.0f}" if rung.fits else "", _small_cache(rung)]
        for rung in rungs
    ]  # fmt: skip
    first, *rest = columns([head, *rows], right=frozenset({0, 1, 3}))
    return ["Contexts", paint(first, "dim"), *rest, ""]


def _small_cache(rung: Rung) -> str:
    return "" if rung.small_cache_bytes is None else (
        f"{show_bytes(rung.small_cache_bytes)} {_fits(bool(rung.small_cache_fits))}"
    )  # fmt: skip


def _fits(fits: bool) -> str:
    return "fits" if fits else "does not fit"


def _identity(found: Explanation) -> list[list[str]]:
    packaged = "" if found.repository.startswith(f"{found.publisher}/") else ", packaged by others than its publisher"
    size = f"{'' if found.exact else '≈'}{show_bytes(found.bytes)}"
    active = f", {_billions(found.active_params)} read per token" if found.active_params else ""
    rows = [
        ["files", f"{found.repository}{packaged}, {size}"],
        ["weights", f"{_billions(found.params)}{active}, architecture {found.architecture or 'unknown'}"],
        ["kind", f"{found.line}, {found.context_length or 'unknown'} tokens of context"],
        ["licence", found.license or "unknown"],
        ["released", found.released or "unknown"],
    ]
    rows += [["can do", f"{claim.name} ({', '.join(claim.sources)})"] for claim in found.capabilities]
    rows += [["ollama", found.ollama_tag]] if found.ollama_tag else []
    return rows + ([["clients call it", f"{found.alias}, the alias of slot {found.slot}"]] if found.alias else [])


def _billions(count: int | None) -> str:
    return f"{count / 1e9:.1f} billion" if count else "unknown"


def _memory(memory: MemoryEstimate, capacity: int) -> list[list[str]]:
    rows = [
        ["weights", show_bytes(memory.weights_bytes), _BASIS[memory.weights_basis]],
        ["context", show_bytes(memory.kv_bytes), (f"{memory.kv_bytes_per_token:,.0f} bytes a token, "
         f"{_BASIS[memory.basis]}")],
        ["state", show_bytes(memory.state_bytes), "of recurrent layers"],
        ["compute", show_bytes(memory.compute_bytes), "buffers"],
        ["overhead", show_bytes(memory.overhead_bytes), "of the runtime"],
        ["total", show_bytes(memory.total_bytes), f"of {show_bytes(capacity)}"],
    ]  # fmt: skip
    if memory.split_bytes:
        rows.insert(-1, ["split", show_bytes(memory.split_bytes), "may stay unused: a layer lies on one device whole"])
    return [*(row for row in rows if row[0] != "state" or memory.state_bytes), _most_context(memory)]


def _most_context(memory: MemoryEstimate) -> list[str]:
    if memory.max_context is None:
        known = memory.max_context_basis != "unknown"
        return [
            "most context",
            "none" if known else "unknown",
            "fits here" if known else "the model's own is not known",
        ]
    why = "then its own ends" if memory.max_context_basis == "model" else "then the memory ends"
    return ["most context", f"{memory.max_context} tokens", why]


def _speed(speed: SpeedEstimate, *, accelerated: bool) -> list[list[str]]:
    if not speed.tokens_per_second:
        return [["tokens/s", "–", "it does not run here"], ["read per token", show_bytes(speed.bytes_per_token), ""]]
    interval = f"{speed.low:.1f} to {speed.high:.1f}, {speed.confidence} confidence, {_speed_basis(speed)}"
    at = f"at {speed.effective_bandwidth_gbps:.0f} GB/s ({speed.backend})"
    rows = [
        ["tokens/s", f"{speed.tokens_per_second:.1f}", interval],
        ["read per token", show_bytes(speed.bytes_per_token), at],
    ]
    rows += _prompt(speed, accelerated=accelerated)
    if speed.offloaded and accelerated:
        rows.append(["outside", f"{speed.offloaded:.0%}", "of the bytes live outside the accelerator"])
    return rows


def _speed_basis(speed: SpeedEstimate) -> str:
    if speed.basis != "measured":
        return speed.basis
    return " ".join(["measured here", *([speed.measured_at] if speed.measured_at else []),
                     *([DOUBT] if speed.doubtful else [])])  # fmt: skip


def _prompt(speed: SpeedEstimate, *, accelerated: bool) -> list[list[str]]:
    """How prompts are read. An accelerator reads a short one slower: measured with one, it is at least that fast."""
    read, first = speed.prefill_tokens_per_second, speed.first_token_seconds
    if read is None:
        return []
    is_measured = speed.prefill_basis == "measured"
    basis = ", measured here" if is_measured else ", estimated" if speed.basis == "measured" else ""
    if first is None:
        return [
            ["prompt", f"{read:.0f}", f"tokens/s read of a short one, {speed.prefill_confidence} confidence{basis}"]
        ]
    least, most = ("at least ", "at most ") if is_measured and accelerated else ("", "")
    told = ", by that" if is_measured else basis
    return [
        ["prompt", f"{least}{read:.0f}", f"tokens/s read, {speed.prefill_confidence} confidence{basis}"],
        ["first token", f"{most}{first:.1f} s", f"after a prompt of half the context{told}"],
    ]


def _quality(quality: QualityEstimate) -> list[list[str]]:
    return [
        ["quality", f"{quality.score:.1f}", (f"{quality.low:.0f} to {quality.high:.0f}, {quality.evidence} evidence, "
         f"{quality.confidence} confidence")],
        *_shares(quality),
        ["quant factor", f"{quality.quant_factor:.3f}", (f"what the quant leaves of it; "
         f"{quality.reference_quant_factor:.3f} of it is left at Q4_K_M, which scores stand for")],
        ["multiplier", f"{quality.multiplier:.2f}", "what the confidence in the evidence leaves of the score"],
    ]  # fmt: skip


def _score(found: Explanation) -> list[list[str]]:
    """How quality becomes the score."""
    slow = ", and less than 4 tokens/s," if found.speed.tokens_per_second < READING_SPEED else ""
    why = f"what {found.speed.confidence} confidence in the speed{slow} leaves of the score"
    product = "quality × multiplier × speed factor" if found.fits else "it does not fit"
    return [["speed factor", f"{found.speed_factor:.2f}", why], ["score", f"{found.score:.1f}", product]]


def _shares(quality: QualityEstimate) -> list[list[str]]:
    """What was measured and what was inherited, each with its share: together they are the quality."""
    rows = []
    if quality.measured_score is not None:
        stands_in = f", by the benchmarks of {quality.judged_as}" if quality.judged_as else ""
        rows.append(["measured", f"{quality.measured_score:.1f}", f"counts {quality.covered:.1%}{stands_in}"])
    if quality.inherited_score is not None:
        whence = ", ".join(quality.inherited_from[:_MOST_LENDERS]) or "its size and date"
        left = len(quality.inherited_from) - _MOST_LENDERS
        more = f" and {left} more" if left > 0 else ""
        share = f"counts {1 - quality.covered:.1%}, from {whence}{more}"
        rows.append(["inherited", f"{quality.inherited_score:.1f}", share])
    return rows


def _evidence(quality: QualityEstimate) -> list[str]:
    if not quality.parts:
        return ["  nobody measured it: taken from its relatives and its size"]
    head = ["benchmark", "value", "of 100", "evidence", "weight", "share", "date", "source"]
    weightiest = sorted(quality.parts, key=lambda part: -part.weight * part.share)
    rows = [
        [part.benchmark, f"{part.value:g}", f"{part.normalised:.1f}", part.evidence,
         f"{part.weight:.3f}", f"{part.share:.2f}", part.observed_at, part.source]
        for part in weightiest[:_MOST_PARTS]
    ]  # fmt: skip
    first, *rest = columns([head, *rows], right=frozenset({1, 2, 4, 5}))
    return [paint(first, "dim"), *rest, *_left(quality.parts, _MOST_PARTS)]


def _left(rows: Sequence[object], shown: int) -> list[str]:
    return [f"  and {len(rows) - shown} more: --json has all"] if len(rows) > shown else []


def _siblings(siblings: Sequence[Sibling]) -> list[str]:
    rows = [
        [one.quant, one.repository, show_bytes(one.bytes), f"{show_bytes(one.memory_bytes)} memory",
         f"score {one.score:.1f}" if one.score else "", one.reason or "eligible"]
        for one in siblings[:_MOST_SIBLINGS]
    ]  # fmt: skip
    return [*columns(rows, right=frozenset({2, 3})), *_left(siblings, _MOST_SIBLINGS)]
