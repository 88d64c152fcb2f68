"""What the name of a measured model says about it: active weights, per-layer embeddings, how it is quantised."""

from __future__ import annotations

import re

from reconciler.formats.measured_file import MeasuredPoint
from reconciler.ranking.quants import REFERENCE_QUANT, normalise

# Active weights of mixtures over all weights: (active in 10⁹) = 0.31 × (all in 10⁹) ^ 0.72.
# Our regression over the 108 mixtures of the catalogue that publish both; two in three lie within half of it.
_TYPICAL_ACTIVE, _TYPICAL_POWER = 0.31, 0.72
_TWO_OF = 2.0
"""Experts that a mixture named by their count and size runs at a time. Source: Mixtral's paper."""
_LOOKED_UP = 0.35
"""Gemma's E models read at least this share of their weights; of the catalogue's mixtures above 3 B none does."""

_ACTIVE = re.compile(r"(?<![a-z0-9])a(\d{1,3}(?:\.\d{1,3})?)(b|m)(?![a-z0-9])")
_EXPERTS = re.compile(r"(?<![a-z0-9])(\d{1,3})x(\d{1,3}(?:\.\d{1,3})?)b(?![a-z0-9])")
_EFFECTIVE = re.compile(r"(?<![a-z0-9])e(\d(?:\.\d)?)b(?![a-z0-9])")
_BITS = re.compile(r"(?<![a-z0-9])(?:mlx)?[-_ ]?([2-8])[-_ ]?bits?(?![a-z0-9])")
_FILE_QUANT = re.compile(
    r"(?<![a-z0-9])((?:ud-)?i?q[1-8]_[a-z0-9]+(?:_[a-z0-9]+)?|bf16|fp16|f16|nvfp4|mxfp4|fp8|awq|gptq)(?![a-z0-9_])"
)
_QUANT_WORDS = {
    "q4_k_xl": "UD-Q4_K_XL", "q8_k_xl": "UD-Q8_K_XL", "q3_k_xl": "UD-Q3_K_XL", "q2_k_xl": "UD-Q2_K_XL",
    "q5_k_xl": "UD-Q5_K_XL", "q6_k_xl": "UD-Q6_K_XL", "int4": "MLX-4bit", "fp16": "F16", "awq-int4": "AWQ",
}  # fmt: skip
_MLX_BITS = (3, 4, 5, 6, 8)


def looks_layers_up(point: MeasuredPoint) -> bool:
    """Whether the weights beyond the active ones are per-layer embeddings: Gemma's E models, by their name.

    Without such a name, a point that says it is no mixture, of whose weights yet only a good part is active, is one.
    """
    text = f"{point.model} {point.params_src or ''}".lower()
    if "gemma" in text and ("3n" in text or "gemma-e" in text or _EFFECTIVE.search(text)):
        return True
    active = point.active_params_b
    stated = point.moe is False and not _ACTIVE.search(text) and not _EXPERTS.search(text)
    return stated and active is not None and _LOOKED_UP <= active / point.params_b < 1


def active_billions(point: MeasuredPoint, usual: float | None = None) -> float | None:
    """10⁹ weights that a token reads: stated, else by the name, else ``usual``, else what is typical of a mixture.

    None for a model of which a token reads everything.
    """
    named = _named_active(point)
    for found in (point.active_params_b, named, usual):
        if found is not None and 0 < found < point.params_b:
            return found
    if point.moe:
        return min(0.5 * point.params_b, _TYPICAL_ACTIVE * float(point.params_b**_TYPICAL_POWER))
    return None


def _named_active(point: MeasuredPoint) -> float | None:
    name = point.model.lower()
    found = _ACTIVE.search(name)
    if found:
        return float(found[1]) / (1 if found[2] == "b" else 1000)
    if looks_layers_up(point):
        effective = _EFFECTIVE.search(name)
        return float(effective[1]) if effective else None
    experts = _EXPERTS.search(name)
    if not experts or int(experts[1]) <= _TWO_OF:
        return None
    # Experts share the attention: so many times their size is more than there is, and the surplus is the shared part's.
    count, size = float(experts[1]), float(experts[2])
    shared = max(0.0, (count * size - point.params_b) / (count - 1))
    return shared + _TWO_OF * (size - shared)


def mlx_by_name(point: MeasuredPoint) -> bool:
    """Whether the weights are packed for MLX, by their quant or the model's name."""
    quant = (point.quant or "").lower()
    return quant.startswith(("mlx", "nvfp4")) or bool(_BITS.fullmatch(quant)) or "mlx" in point.model.lower()


def quant_of(point: MeasuredPoint, *, mlx: bool) -> str:
    """The quant's one name; by the model's name where the point says nothing, else the usual 4-bit one.

    Args:
        point: whose quant.
        mlx: whether MLX runs it.
    """
    text = re.sub(r"\(.*", "", point.quant or "").strip()
    name = point.model.lower()
    if text.lower() in ("", "mlx"):
        named = _bits(name) if mlx or text or "bit" in name else None
        return named or ("MLX-4bit" if text else _file_quant(name))
    for word in (text, text.partition(" ")[0], text.rpartition("-")[0]):
        quant = normalise(_QUANT_WORDS.get(word.lower(), word))
        if quant.known:
            return quant.canonical
    return _bits(text.lower()) or text


def _bits(text: str) -> str | None:
    """``MLX-6bit`` and the like; the next wider width where MLX has none of that many bits.

    >>> _bits("acme/alpha-6bit"), _bits("mlx 3bit"), _bits("alpha")
    ('MLX-6bit', 'MLX-3bit', None)
    """
    found = _BITS.search(text)
    return None if found is None else f"MLX-{next(bits for bits in _MLX_BITS if bits >= int(found[1]))}bit"


def _file_quant(name: str) -> str:
    found = _FILE_QUANT.search(name)
    quant = normalise(_QUANT_WORDS.get(found[1], found[1])) if found else None
    return quant.canonical if quant and quant.known else REFERENCE_QUANT
