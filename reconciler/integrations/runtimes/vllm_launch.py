"""The command that a vLLM would have to be started with to serve an adapter."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from reconciler.domain.adapter import HeldAdapter
from reconciler.domain.advice import quoted
from reconciler.integrations.lora_routes import load_routes
from reconciler.integrations.runtimes.vllm_api import Card
from reconciler.lora.adapter_config import CONFIG_LIMIT_BYTES, read_adapter_config
from reconciler.lora.adapter_files import CONFIG
from reconciler.lora.launch_value import adapter_value

_MAY_CHANGE_LATER = "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True"


def launch_command(adapter: HeldAdapter, base: str, served: Sequence[Card] = (), names: Sequence[str] = ()) -> str:
    """What serves ``adapter`` from its start, beside what is served now. Blocks shortly.

    Args:
        adapter: whose rank, and those of the others as far as they can be read here, the limit holds.
        base: what the server loads.
        served: adapters of that base, now.
        names: what the base is asked for by, where that is not what the server loads.
    """
    facts = load_routes().provider("vllm")
    if facts is None:  # the shipped table has it
        return ""
    others = [card for card in served if card.name != adapter.name]
    largest = max((rank for rank in (adapter.rank, *(_rank_at(card.root) for card in others)) if rank), default=None)
    limit = facts.rank_for(largest) if largest is not None else None
    called = ["--served-model-name", *names] if names and tuple(names) != (base,) else []
    words = ["vllm", "serve", base, *called, "--enable-lora"]
    words += ["--max-lora-rank", str(limit)] if limit is not None else []
    words += ["--lora-modules", adapter_value(facts, adapter.name, adapter.path, base)]
    words += [adapter_value(facts, card.name, card.root, base) for card in others]
    return f"{_MAY_CHANGE_LATER} {' '.join(quoted(word) for word in words)}"


def _rank_at(root: str) -> int | None:
    """Of a PEFT directory of this host; None where there is none, or it does not tell."""
    place = Path(root) / CONFIG
    try:
        if not place.is_absolute() or not place.is_file():
            return None
        with place.open("rb") as file:
            return read_adapter_config(file.read(CONFIG_LIMIT_BYTES + 1)).rank or None
    except (OSError, ValueError):
        return None
