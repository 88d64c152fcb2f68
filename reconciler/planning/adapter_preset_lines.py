"""The section that a person writes into a router's preset file, where that cannot be written from here."""

from __future__ import annotations

from reconciler.domain.plan import Row
from reconciler.planning.adapter_by_hand import ByHand
from reconciler.planning.scene import Scene


def with_lines(row: Row, one: ByHand, scene: Scene) -> Row:
    """The row with why its target can be given nothing now, and the lines to write there.

    Args:
        row: with what a person does as if nothing were known of that.
        one: the adapter.
        scene: everything a decision may look at.
    """
    observed = scene.observed.get(one.target.name)
    why = observed.why_no_adapters if observed is not None else None
    if why is None:
        return row
    _, place = one.module
    message = f"{one.target.name} can be given no adapters: {why}"
    if one.verdict is None or one.verdict.format != "gguf":
        place = "ADAPTER.gguf"
        message += "; it takes GGUF, which convert_lora_to_gguf.py of llama.cpp makes of a PEFT folder"
    lines = (f"[{one.name}]", f"hf-repo = {one.base}", "offline = true", f"lora-scaled = {place}:{one.scale!r}")
    hint = "let it be written from here and plan again, or write these lines there:\n" + "\n".join(
        f"        {line}" for line in lines
    )
    return row.model_copy(update={"message": message, "hint": hint, "command": None})
