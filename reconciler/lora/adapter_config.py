"""``adapter_config.json``: what an adapter says of itself. A field of another type than expected counts as not stated.

What it says is compared with its weights (``weights``) and with its base (``base_match``) before anything is believed.

Source:
    peft 0.21.2 ``tuners/lora/config.py`` for the names and defaults; mlx-lm ``mlx_lm/lora.py`` and
    ``mlx_lm/tuner/utils.py`` for those of a configuration that mlx_lm wrote.
"""

from __future__ import annotations

import math
from codecs import BOM_UTF8
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from reconciler.formats.foreign_json import read_object
from reconciler.lora.config_values import wrong_values

CONFIG_LIMIT_BYTES = 1 << 20
CONTRACT_KEYS = ("harn_lora_contract_id", "lora_contract_id", "harn_contract_id")
"""Where a contract id may stand; the first text counts."""
ALL_LINEAR = "all-linear"
_LISTED_AT_MOST = 10_000
_PLAIN_INITS = frozenset({"true", "false", "gaussian", "eva", "orthogonal", "mica", "lora_ga"})
"""Starts that set the pairs and nothing else, or nothing that stays. Source: peft 0.21.2; vLLM 0.32.0."""

Targets = Literal["list", "pattern", "all-linear"]


@dataclass(frozen=True, slots=True)
class AdapterConfig:
    """The fields that decide whether an adapter can be served. None: not stated, or not of the type it must have."""

    peft_type: str | None = None
    task_type: str | None = None
    base_model: str | None = None
    """``base_model_name_or_path``; an empty text counts as stated."""
    revision: str | None = None
    rank: int | None = None
    alpha: float | None = None
    target_modules: tuple[str, ...] = ()
    targets: Targets | None = None
    """How ``target_modules`` is meant: a list of names, one regular expression, or every linear layer."""
    exclude_modules: tuple[str, ...] = ()
    excludes: Targets | None = None
    modules_to_save: tuple[str, ...] = ()
    target_parameters: tuple[str, ...] = ()
    rank_pattern: Mapping[str, int] = field(default_factory=dict, hash=False)
    alpha_pattern: Mapping[str, float] = field(default_factory=dict, hash=False)
    layers_to_transform: tuple[int, ...] = ()
    layers_pattern: tuple[str, ...] = ()
    layer_replication: tuple[tuple[int, int], ...] = ()
    trainable_tokens: int = 0
    """Tokens whose embedding was trained too (``trainable_token_indices``)."""
    bias: str | None = None
    use_dora: bool = False
    use_rslora: bool = False
    fan_in_fan_out: bool = False
    lora_bias: bool = False
    changing_init: str | None = None
    """``init_lora_weights`` where it changes the base before training, so that the pairs fit the changed one alone."""
    alora_tokens: int = 0
    """Tokens that switch it on (``alora_invocation_tokens``)."""
    use_bdlora: bool = False
    use_qalora: bool = False
    ensures_tying: bool = False
    dropout: float | None = None
    contract_id: str | None = None
    peft_version: str | None = None
    is_mlx: bool = False
    """mlx_lm wrote it: it has ``lora_parameters`` and no ``peft_type``."""
    fine_tune_type: str | None = None
    """``lora``, ``dora`` or ``full``; of MLX only."""
    invalid: Mapping[str, str] = field(default_factory=dict, hash=False)
    """What is stated and cannot be: a sentence by key. The field itself counts as not stated."""


def read_adapter_config(raw: bytes) -> AdapterConfig:
    """The configuration of an adapter.

    Raises:
        ValueError: not JSON, or not an object. Nothing else, for any bytes.
    """
    found = adapter_config(read_object(raw, limit_bytes=CONFIG_LIMIT_BYTES))
    if raw.startswith(BOM_UTF8):
        return replace(found, invalid={"": "it begins with a byte order mark, at which peft stops", **found.invalid})
    return found


def adapter_config(document: Mapping[str, Any]) -> AdapterConfig:
    """The same from a document that was read already. Never raises."""
    if "peft_type" not in document and ("lora_parameters" in document or "fine_tune_type" in document):
        return _mlx_config(document)
    targets = document.get("target_modules")
    excludes = document.get("exclude_modules")
    saved = document.get("modules_to_save")
    return AdapterConfig(
        peft_type=_text(document.get("peft_type")),
        task_type=_text(document.get("task_type")),
        base_model=_text(document.get("base_model_name_or_path")),
        revision=_text(document.get("revision")),
        rank=_whole(document.get("r")),
        alpha=_number(document.get("lora_alpha")),
        target_modules=_texts(targets),
        targets=_meaning(targets),
        exclude_modules=_texts(excludes),
        excludes=_meaning(excludes),
        modules_to_save=_texts(saved),
        target_parameters=_texts(document.get("target_parameters")),
        rank_pattern={key: rank for key, value in _items(document, "rank_pattern") if (rank := _whole(value))},
        alpha_pattern={
            key: alpha for key, value in _items(document, "alpha_pattern") if (alpha := _number(value)) is not None
        },
        layers_to_transform=_wholes(document.get("layers_to_transform")),
        layers_pattern=_texts(document.get("layers_pattern")),
        layer_replication=_pairs(document.get("layer_replication")),
        trainable_tokens=_count(document.get("trainable_token_indices")),
        bias=_text(document.get("bias")),
        use_dora=document.get("use_dora") is True,
        use_rslora=document.get("use_rslora") is True,
        fan_in_fan_out=document.get("fan_in_fan_out") is True,
        lora_bias=document.get("lora_bias") is True,
        changing_init=_changing(document.get("init_lora_weights")),
        alora_tokens=_count(document.get("alora_invocation_tokens")),
        use_bdlora=bool(document.get("use_bdlora")),
        use_qalora=document.get("use_qalora") is True,
        ensures_tying=document.get("ensure_weight_tying") is True,
        dropout=_number(document.get("lora_dropout")),
        contract_id=next((word for key in CONTRACT_KEYS if (word := _text(document.get(key))) is not None), None),
        peft_version=_text(document.get("peft_version")),
        invalid=wrong_values(document, is_mlx=False),
    )


def _mlx_config(document: Mapping[str, Any]) -> AdapterConfig:
    """What mlx_lm wrote: it multiplies the pairs by ``scale``, which is what an alpha of scale times rank means."""
    found = document.get("lora_parameters")
    parameters = found if isinstance(found, dict) else {}
    rank, scale = _whole(parameters.get("rank")), _number(parameters.get("scale"))
    size = _number(rank)
    kind = _text(document.get("fine_tune_type"))
    keys = parameters.get("keys")
    return AdapterConfig(
        base_model=_text(document.get("model")),
        rank=rank,
        alpha=_number(scale * size) if scale is not None and size is not None else None,
        target_modules=_texts(keys) if isinstance(keys, list) else (),
        targets=_meaning(keys) if isinstance(keys, list) else None,
        use_dora=kind == "dora",
        dropout=_number(parameters.get("dropout")),
        contract_id=next((word for key in CONTRACT_KEYS if (word := _text(document.get(key))) is not None), None),
        is_mlx=True,
        fine_tune_type=kind,
        invalid=wrong_values(document, is_mlx=True),
    )


def _text(found: object) -> str | None:
    return found if isinstance(found, str) else None


def _whole(found: object) -> int | None:
    return found if isinstance(found, int) and not isinstance(found, bool) and found >= 0 else None


def _number(found: object) -> float | None:
    if not isinstance(found, int | float) or isinstance(found, bool):
        return None
    try:
        value = float(found)
    except OverflowError:
        return None
    return value if math.isfinite(value) else None


def _texts(found: object) -> tuple[str, ...]:
    if isinstance(found, str):
        return (found,)
    return tuple(each for each in found if isinstance(each, str))[:_LISTED_AT_MOST] if isinstance(found, list) else ()


def _meaning(found: object) -> Targets | None:
    if isinstance(found, str):
        return "all-linear" if found.lower() == ALL_LINEAR else "pattern"
    return "list" if _texts(found) else None


def _changing(init: object) -> str | None:
    """An ``init_lora_weights`` that leaves the base other than it was; of a name nobody knows it counts as one."""
    name = _text(init)
    return None if name is None or name.lower() in _PLAIN_INITS else name


def _wholes(found: object) -> tuple[int, ...]:
    rows = found if isinstance(found, list) else [found]
    return tuple(each for each in map(_whole, rows[:_LISTED_AT_MOST]) if each is not None)


def _pairs(found: object) -> tuple[tuple[int, int], ...]:
    rows = found[:_LISTED_AT_MOST] if isinstance(found, list) else []
    pairs = (_wholes(each) for each in rows)
    return tuple((each[0], each[1]) for each in pairs if len(each) == 2)


def _items(document: Mapping[str, Any], key: str) -> list[tuple[str, object]]:
    found = document.get(key)
    return list(found.items())[:_LISTED_AT_MOST] if isinstance(found, dict) else []


def _count(found: object) -> int:
    if isinstance(found, dict):
        return sum(_count(each) for each in found.values() if isinstance(each, list))
    return len(_wholes(found)) if isinstance(found, list) else 0
