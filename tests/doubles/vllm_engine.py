"""What the engine of the double of vLLM reads of a PEFT directory, and what it refuses of one, in the real one's words."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_PAIRS = (".lora_A.", ".lora_B.", ".lora_embedding_A", ".lora_embedding_B")
_PLAIN_INITS = ("gaussian", "eva", "orthogonal", "mica", "lora_ga")


class LoadError(Exception):
    """The engine refuses an adapter."""


class NotFoundHereError(LoadError):
    """There is no adapter at the path."""


def read_adapter(folder: Path, name: str, *, limit: int | None, knows_more: bool) -> tuple[int, bytes]:
    """Rank and weights of a PEFT directory.

    Args:
        folder: where it is.
        name: what it is to be called.
        limit: the highest rank that is taken; None: it is not looked at yet.
        knows_more: reads the fields that 0.32 knows and 0.8 leaves out.
    """
    config = folder / "adapter_config.json"
    if not config.is_file():
        raise NotFoundHereError(f"Loading lora {name} failed: No adapter found for {folder}")
    document = json.loads(config.read_bytes())
    if missing := {"r", "lora_alpha", "target_modules"} - document.keys():
        raise LoadError(f"Missing required configuration fields: {missing}")
    rank = max([document["r"], *(document.get("rank_pattern") or {}).values()])
    refused = [*_refused(document), *(_refused_later(document) if knows_more else ())]
    refused += [rank_words(rank, limit)] if limit is not None and rank > limit else []
    refused += ["Adapter bias is not supported."] if document.get("bias", "none") != "none" else []
    if refused:
        raise LoadError(" ".join(refused))
    weights = folder / "adapter_model.safetensors"
    if not weights.is_file():
        raise LoadError(f"{folder} doesn't contain tensors")
    content = weights.read_bytes()
    unexpected = [name for name in _tensors(content) if not any(half in name for half in _PAIRS)]
    if unexpected:
        raise LoadError(f"{unexpected[0]} is unsupported LoRA weight")
    return rank, content


def _refused(document: dict[str, Any]) -> Iterator[str]:
    if document.get("modules_to_save"):
        yield _saved_words(document["modules_to_save"])
    if document.get("use_dora"):
        yield "vLLM does not yet support DoRA."


def _refused_later(document: dict[str, Any]) -> Iterator[str]:
    if document.get("lora_bias"):
        yield "vLLM does not support LoRA bias (lora_bias)."
    init = document.get("init_lora_weights", True)
    if isinstance(init, str) and init.lower() not in _PLAIN_INITS:
        yield _init_words(init)
    if document.get("alora_invocation_tokens"):
        yield "vLLM does not support Activated LoRA (aLoRA)."
    if document.get("layer_replication"):
        yield "vLLM does not support layer_replication."
    if document.get("use_bdlora"):
        yield "vLLM does not support block-diagonal LoRA (BD-LoRA)."
    if document.get("use_qalora"):
        yield "vLLM does not support QALoRA."


def _tensors(content: bytes) -> list[str]:
    """Names of the tensors of a safetensors file, or an error where it is damaged."""
    try:
        (length,) = struct.unpack("<Q", content[:8])
        header = json.loads(content[8 : 8 + length])
        tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
        sizes = [
            (entry["data_offsets"], math.prod(entry["shape"]) * {"F32": 4, "F16": 2, "BF16": 2}[entry["dtype"]])
            for entry in tensors.values()
        ]
    except (ValueError, struct.error, KeyError, TypeError, AttributeError) as error:
        raise LoadError(f"Error while deserializing header: {error}") from error
    if any(end - begin != size or end > len(content) - 8 - length for (begin, end), size in sizes):
        raise LoadError("Error while deserializing header: incomplete metadata, file not fully covered")
    return list(tensors)


def rank_words(rank: int, limit: int) -> str:
    return f"LoRA rank {rank} is greater than max_lora_rank {limit}."


def _saved_words(modules: list[str]) -> str:
    only = 'vLLM only supports modules_to_save being either None or ["classifier", "score"] for classification models.'
    return f"{only} Unsupported modules_to_save: {modules}"


def _init_words(init: str) -> str:
    return (
        f"vLLM does not support init_lora_weights={init!r}. Inits such as PiSSA, OLoRA, CorDA and LoftQ modify the base"
        " model weights when PEFT loads the adapter. Convert it to a regular LoRA adapter with PEFT's"
        " path_initial_model_for_weight_conversion, or set init_lora_weights to true if the served base model already"
        " contains the modified weights."
    )
