"""What may stand in an ``adapter_config.json``: a value that peft refuses, or that it would take for another one.

A key that is missing or null is not stated, which ``config_gaps`` judges.

Source:
    peft 0.21.2 ``tuners/lora/config.py`` and ``tuners/lora/layer.py`` (``r`` above 0); mlx-lm
    ``mlx_lm/tuner/utils.py``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

_SHOWN = 60
_BIASES = ("none", "all", "lora_only")
Fits = Callable[[object], bool]


def wrong_values(document: Mapping[str, Any], *, is_mlx: bool) -> dict[str, str]:
    """A sentence for every key whose value cannot be what it says, by key. Never raises.

    >>> wrong_values({"r": "four", "lora_alpha": 8}, is_mlx=False)
    {'r': 'r is "four", not a whole number above 0'}
    """
    if not is_mlx:
        return _judged(document, _PEFT)
    parameters = document.get("lora_parameters")
    inner = parameters if isinstance(parameters, dict) else {}
    return _judged(document, _MLX) | {
        f"lora_parameters.{key}": f"lora_parameters.{text}" for key, text in _judged(inner, _MLX_PARAMETERS).items()
    }


def _judged(document: Mapping[str, Any], allowed: Mapping[str, tuple[Fits, str]]) -> dict[str, str]:
    return {
        key: f"{key} is {_shown(document[key])}, not {words}"
        for key, (fits, words) in allowed.items()
        if document.get(key) is not None and not fits(document[key])
    }


def _shown(value: object) -> str:
    try:
        text = json.dumps(value)
    except (ValueError, RecursionError):
        text = f"a {type(value).__name__}"
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_rank(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_number(value: object) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(float(value))
    except OverflowError:
        return False


def _is_names(value: object) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(each, str) for each in value))


def _is_layers(value: object) -> bool:
    return _is_whole(value) or (isinstance(value, list) and all(_is_whole(each) for each in value))


def _each(fits: Fits) -> Fits:
    return lambda value: isinstance(value, dict) and all(fits(each) for each in value.values())


_TEXT, _FLAG = (_is_text, "text"), (_is_flag, "true or false")
_NAMES = (_is_names, "text or a list of texts")
_NUMBER, _RANK = (_is_number, "a number"), (_is_rank, "a whole number above 0")
_PEFT: Mapping[str, tuple[Fits, str]] = {
    "peft_type": _TEXT, "base_model_name_or_path": _TEXT, "revision": _TEXT,
    "r": _RANK, "lora_alpha": _NUMBER, "lora_dropout": _NUMBER,
    "target_modules": _NAMES, "exclude_modules": _NAMES, "modules_to_save": _NAMES, "target_parameters": _NAMES,
    "layers_pattern": _NAMES, "layers_to_transform": (_is_layers, "a whole number or a list of them"),
    "rank_pattern": (_each(_is_rank), "a mapping of whole numbers above 0"),
    "alpha_pattern": (_each(_is_number), "a mapping of numbers"),
    "bias": (lambda value: value in _BIASES, f"one of {', '.join(_BIASES)}"),
    "use_dora": _FLAG, "use_rslora": _FLAG, "fan_in_fan_out": _FLAG, "lora_bias": _FLAG, "use_qalora": _FLAG,
    "init_lora_weights": (lambda value: isinstance(value, bool | str), "true, false or text"),
}  # fmt: skip
_MLX: Mapping[str, tuple[Fits, str]] = {
    "lora_parameters": (lambda value: isinstance(value, dict), "a mapping"), "model": _TEXT, "fine_tune_type": _TEXT,
}  # fmt: skip
_MLX_PARAMETERS: Mapping[str, tuple[Fits, str]] = {
    "rank": _RANK, "scale": _NUMBER, "dropout": _NUMBER, "keys": _NAMES,
}  # fmt: skip
