"""Quants: one name each, how many bits a weight takes, and what the quant costs in quality."""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass
from functools import lru_cache

from reconciler.ranking.quant_bits import REAL_BITS

UNKNOWN_BITS = 8.0
UNKNOWN_QUALITY = 0.9
"""What a quant nobody knows is taken to keep: less than any 4-bit quant of the table."""
REFERENCE_QUANT = "Q4_K_M"
"""Scores stand for a model at this quant: the one people run, and the one the origin's scores were made for."""

# Source: the origin's table (its ``quants.ts``), kept value for value.
_ORIGIN_BITS = {
    "F32": 32.0, "FP16": 16.0, "BF16": 16.0, "F16": 16.0, "Q8_0": 8.5, "Q6_K": 6.6, "Q5_K_M": 5.7, "Q5_K_S": 5.5,
    "Q4_K_M": 4.85, "Q4_K_S": 4.6, "Q4_0": 4.5, "Q3_K_M": 3.9, "Q3_K_S": 3.5, "Q2_K": 3.35, "IQ4_XS": 4.25,
    "IQ3_M": 3.7, "MLX-4bit": 4.25, "MLX-8bit": 8.5,
}  # fmt: skip

# Source: MLX affine quantisation in groups of 64 stores a 16-bit scale and a 16-bit bias per group: n + 0.5 bits.
# AWQ and GPTQ in groups of 128: a 16-bit scale and a 4-bit zero per group. NVFP4: an 8-bit scale per 16 weights.
_OTHER_BITS = {
    "MLX-3bit": 3.5, "MLX-5bit": 5.5, "MLX-6bit": 6.5, "AWQ": 4.16, "GPTQ": 4.16, "NVFP4": 4.5, "FP8": 8.0,
    "INT8": 8.0,
}  # fmt: skip

# Of the table of perplexities below, by the sizes of its own files: no repository that was looked at has them.
_SCOREBOARD_BITS = {"Q2_K_S": 3.164}

_BITS = _SCOREBOARD_BITS | REAL_BITS | _OTHER_BITS | _ORIGIN_BITS

_ALIASES = {
    "mlx-q4": "MLX-4bit", "mlx-4-bit": "MLX-4bit", "mlx-q8": "MLX-8bit", "mlx-8-bit": "MLX-8bit",
    "q8": "Q8_0", "q6": "Q6_K", "q5": "Q5_K_M", "q4": "Q4_K_M", "q3": "Q3_K_M", "q2": "Q2_K",
    "q3_k": "Q3_K_M", "mxfp4-moe": "MXFP4_MOE",
}  # fmt: skip

_CANONICAL = _ALIASES | {name.lower(): name for name in _BITS}

# Perplexity on Wikitext-2 of one 8 B model at each quant, with an importance matrix where one was measured.
# Source: llama.cpp ``tools/perplexity/README.md``, "LLaMA 3 8b Scoreboard", revision f364eb6f.
_PERPLEXITY_F16 = 6.233160
_PERPLEXITY = {
    "F16": 6.233160, "Q8_0": 6.234284, "Q6_K": 6.253382, "Q5_K_M": 6.288607, "Q5_K_S": 6.336598, "Q5_1": 6.337857,
    "Q5_0": 6.363224, "Q4_K_M": 6.382937, "Q4_K_S": 6.409697, "IQ4_NL": 6.455593, "IQ4_XS": 6.459705,
    "Q4_1": 6.682737, "Q4_0": 6.700147, "Q3_K_L": 6.671223, "Q3_K_M": 6.734255, "IQ3_M": 6.898327, "IQ3_S": 6.965501,
    "IQ3_XS": 7.163043, "IQ3_XXS": 7.458436, "Q3_K_S": 7.602878, "IQ2_M": 8.600799, "Q2_K": 8.647825,
    "Q2_K_S": 9.323778, "IQ2_S": 9.650781, "IQ2_XS": 10.761424, "IQ2_XXS": 14.091782, "IQ1_M": 25.493722,
    "IQ1_S": 58.097760,
}  # fmt: skip

# (bits of the measured file, log of the perplexity's growth): the mixtures nobody measured lie on this curve. Bits are
# those of the table's own file sizes (GiB over 14.97 GiB of 16-bit weights).
_CURVE = tuple(
    (16.0 * size / 14.97, math.log(_PERPLEXITY[quant] / _PERPLEXITY_F16))
    for quant, size in (
        ("IQ1_S", 1.88), ("IQ1_M", 2.01), ("IQ2_XXS", 2.24), ("IQ2_XS", 2.43), ("IQ2_S", 2.56), ("IQ2_M", 2.74),
        ("IQ3_XXS", 3.05), ("IQ3_XS", 3.28), ("IQ3_S", 3.42), ("IQ3_M", 3.53), ("Q3_K_M", 3.74), ("IQ4_XS", 4.14),
        ("Q4_K_S", 4.37), ("Q4_K_M", 4.58), ("Q5_K_M", 5.33), ("Q6_K", 6.14), ("Q8_0", 7.96), ("F16", 14.97),
    )
)  # fmt: skip
_CURVE_BITS = tuple(bits for bits, _ in _CURVE)

# The same mixture with wider embeddings (larger, and not known to be better than the mixture it is named after), under
# its short name, or with its blocks in another order.
_SAME_MIXTURE = {
    "Q2_K_L": "Q2_K",
    "Q3_K_XL": "Q3_K_L",
    "Q4_K_L": "Q4_K_M",
    "Q5_K_L": "Q5_K_M",
    "Q6_K_L": "Q6_K",
    "Q8_0_L": "Q8_0",
    "Q4_K": "Q4_K_M",
    "Q5_K": "Q5_K_M",
    "Q4_0_4_4": "Q4_0",
    "Q4_0_4_8": "Q4_0",
    "Q4_0_8_8": "Q4_0",
}

_LOSSLESS = frozenset({"F32", "BF16", "F16", "FP16", "MXFP4"})
"""MXFP4 files are models released in it (gpt-oss): nothing was lost on the way. ``MXFP4_MOE`` is a conversion."""
_NOTHING = 0.0005
"""A loss below this is none: the table's own standard error is 0.6 %. Eight bits are as good as sixteen, and faster."""


@dataclass(frozen=True, slots=True)
class Quant:
    """A quant by its one name."""

    canonical: str
    """The name as the table spells it; the text as given where it is not known."""
    known: bool
    bits_per_weight: float
    """Over a whole file, wider tensors included; 8 where nobody knows the quant: ``at_bits`` takes a file's own."""
    quality_factor: float
    """What is left of a model's quality, 1 is everything: perplexity at 16 bits over perplexity at this quant."""


def _loss_at(bits: float) -> float:
    """Log growth of perplexity of a mixture of so many bits, between its measured neighbours."""
    if bits <= _CURVE_BITS[0]:
        return _CURVE[0][1]
    if bits >= _CURVE_BITS[-1]:
        return 0.0
    index = bisect_left(_CURVE_BITS, bits)
    (low_bits, low), (high_bits, high) = _CURVE[index - 1], _CURVE[index]
    return low + (high - low) * (bits - low_bits) / (high_bits - low_bits)


def _quality(canonical: str, bits: float) -> float:
    if canonical in _LOSSLESS:
        return 1.0
    perplexity = _PERPLEXITY.get(_SAME_MIXTURE.get(canonical, canonical))
    kept = _PERPLEXITY_F16 / perplexity if perplexity else math.exp(-_loss_at(bits))
    return 1.0 if 1.0 - kept < _NOTHING else kept


@lru_cache(maxsize=4096)
def normalise(text: str) -> Quant:
    """The quant a text names: case and surrounding blanks do not matter, shorthands are understood.

    Never raises. A text that names none is returned as it is (trimmed, unless it is blank), ``known`` false, 8 bits.

    >>> normalise(" q4_k_m ").canonical
    'Q4_K_M'
    """
    trimmed = text.strip()
    canonical = _CANONICAL.get(trimmed.lower())
    if canonical is None and trimmed.lower().startswith("ud-"):
        base = _CANONICAL.get(trimmed.lower()[3:])
        if base is not None:
            bits = _BITS[base]
            return Quant(f"UD-{base}", known=True, bits_per_weight=bits, quality_factor=_quality("", bits))
    if canonical is None:
        return Quant(trimmed or text, known=False, bits_per_weight=UNKNOWN_BITS, quality_factor=UNKNOWN_QUALITY)
    bits = _BITS[canonical]
    return Quant(canonical, known=True, bits_per_weight=bits, quality_factor=_quality(canonical, bits))


def at_bits(name: str, bits: float) -> Quant:
    """A quant that no table has, at the bits a weight takes in a file of it: on the curve of those that were measured.

    >>> at_bits("Q2_NEW", 2.7).quality_factor < at_bits("Q5_NEW", 5.5).quality_factor
    True
    """
    return Quant(name, known=False, bits_per_weight=round(bits, 3), quality_factor=_quality("", bits))


def bits_per_weight(quant: str) -> float:
    """Bits a weight takes in a file of this quant; 8 where the quant is not known."""
    return normalise(quant).bits_per_weight


KNOWN_QUANTS: tuple[str, ...] = tuple(sorted(_BITS))
"""Every canonical name."""
