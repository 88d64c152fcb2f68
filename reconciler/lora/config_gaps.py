"""What an adapter's configuration leaves unsaid, and whether what it says is a LoRA adapter at all."""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.domain.finding import Finding
from reconciler.lora.adapter_config import AdapterConfig
from reconciler.lora.findings import error, warning

_SAY_IT = "save the adapter again with the library that trained it, or add what is missing"
_AS_LORA = "give an adapter that was trained as LoRA, or merge this one into its base"


def judge_gaps(config: AdapterConfig, *, has_rank: bool) -> Iterator[Finding]:
    """What it is no LoRA adapter by, or does not say.

    Args:
        config: of the adapter.
        has_rank: configuration or weights tell the rank.
    """
    yield from _judge_kind(config)
    if config.rank is None:
        told, name = "; its weights do" if has_rank else "", "lora_parameters.rank" if config.is_mlx else "r"
        yield warning("rank_missing", f"adapter_config.json does not say the rank ({name}){told}", _SAY_IT)
    if config.alpha is None:
        name = "lora_parameters.scale" if config.is_mlx else "lora_alpha"
        yield warning("alpha_missing", f"adapter_config.json does not say the scale ({name})", _SAY_IT)
    if config.targets is None and not config.target_parameters and not config.is_mlx:
        text = "adapter_config.json does not say which modules it changes (target_modules)"
        yield warning("targets_missing", text, _SAY_IT)


def _judge_kind(config: AdapterConfig) -> Iterator[Finding]:
    if config.is_mlx:
        if config.fine_tune_type not in (None, "lora", "dora"):
            yield error("peft_type_not_lora", f"fine_tune_type is {config.fine_tune_type}, not lora", _AS_LORA)
    elif config.peft_type is None:
        text = "adapter_config.json does not say which kind of adapter it is (peft_type)"
        yield warning("peft_type_missing", text, _SAY_IT)
    elif config.peft_type != "LORA":
        yield error("peft_type_not_lora", f"peft_type is {config.peft_type}, not LORA", _AS_LORA)
