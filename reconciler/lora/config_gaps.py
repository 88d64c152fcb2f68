"""What an adapter's configuration leaves unsaid, and whether what it says is a LoRA adapter at all."""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.domain.finding import Finding
from reconciler.lora.adapter_config import AdapterConfig
from reconciler.lora.findings import error, warning

_SAY_IT = "save the adapter again with the library that trained it, or add what is missing"
_MEND_IT = "save the adapter again with the library that trained it: peft refuses this, or takes it for something else"
_AS_LORA = "give an adapter that was trained as LoRA, or merge this one into its base"


def judge_gaps(config: AdapterConfig, *, has_rank: bool) -> Iterator[Finding]:
    """What it is no LoRA adapter by, or does not say.

    Args:
        config: of the adapter.
        has_rank: configuration or weights tell the rank.
    """
    for text in config.invalid.values():
        yield error("config_invalid", f"adapter_config.json: {text}", _MEND_IT)
    yield from _judge_kind(config)
    name = "lora_parameters.rank" if config.is_mlx else "r"
    if config.rank is None and name not in config.invalid:
        told = "; its weights do" if has_rank else ""
        yield warning("rank_missing", f"adapter_config.json does not say the rank ({name}){told}", _SAY_IT)
    name = "lora_parameters.scale" if config.is_mlx else "lora_alpha"
    if config.alpha is None and not {name, "lora_parameters.rank"} & set(config.invalid):
        yield warning("alpha_missing", f"adapter_config.json does not say the scale ({name})", _SAY_IT)
    is_silent = config.targets is None and not config.target_parameters and not config.is_mlx
    if is_silent and "target_modules" not in config.invalid:
        text = "adapter_config.json does not say which modules it changes (target_modules)"
        yield warning("targets_missing", text, _SAY_IT)


def _judge_kind(config: AdapterConfig) -> Iterator[Finding]:
    if config.is_mlx:
        if config.fine_tune_type not in (None, "lora", "dora"):
            yield error("peft_type_not_lora", f"fine_tune_type is {config.fine_tune_type}, not lora", _AS_LORA)
    elif config.peft_type is None and "peft_type" in config.invalid:
        return
    elif config.peft_type is None:
        text = "adapter_config.json does not say which kind of adapter it is (peft_type)"
        yield warning("peft_type_missing", text, _SAY_IT)
    elif config.peft_type != "LORA":
        yield error("peft_type_not_lora", f"peft_type is {config.peft_type}, not LORA", _AS_LORA)
