"""``/api/generate`` of the double: loading, unloading, and answers that time themselves.

Nothing is computed: how fast the double is, is what a test says (``Speed``). One object a request: nobody here streams.
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from tests.doubles.ollama_http import Exchange
from tests.doubles.ollama_store import Stored, gguf_pairs

if TYPE_CHECKING:
    from tests.doubles.ollama import OllamaDouble

_DURATION = re.compile(r"(-?\d+(?:\.\d+)?)(ms|s|m|h)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass
class Speed:
    """What the answers to prompts say of themselves, and how long they really take."""

    decode: float = 50.0
    """Tokens a second."""
    prefill: float = 500.0
    prompt_tokens: int = 130
    load_seconds: float = 2.0
    most_tokens: int | None = None
    """The model ends its answer by itself after so many."""
    takes_seconds: float = 0.0
    on_accelerator: float = 0.0
    """Share of a loaded model that is in VRAM."""
    only_embeds: bool = False


def generate(double: OllamaDouble, exchange: Exchange, body: dict[str, Any], stored: Stored) -> None:
    """1.8: a prompt is answered; without one the model is loaded, or with ``keep_alive`` 0 unloaded."""
    seconds, prompt = keep_alive_seconds(body.get("keep_alive")), body.get("prompt")
    answer = {"model": body["model"], "created_at": datetime.now(UTC).isoformat(), "response": "", "done": True}
    if seconds == 0 and not prompt:
        _unload(double, stored)
        return exchange.answer_json(200, {**answer, "done_reason": "unload"})
    if double.speed.only_embeds and prompt:
        return exchange.answer_json(400, {"error": f'"{body["model"]}" does not support generate'})
    if misfit := _misfit(double, stored):
        return exchange.answer_json(500, {"error": f"llama runner process has terminated: {misfit}"})
    options = body.get("options") or {}
    fresh = _load(double, stored, seconds, options.get("num_ctx"))
    if not prompt:
        return exchange.answer_json(200, {**answer, "done_reason": "load", **_loading(double, fresh=fresh)})
    with double.in_flight(stored.name.short):
        end = time.monotonic() + double.speed.takes_seconds
        while time.monotonic() < end:
            if exchange.client_gone:
                return None
            time.sleep(0.005)
    if seconds == 0:
        double.runners.pop(stored.name.key, None)
    timings = _loading(double, fresh=fresh) | _answering(double.speed, options.get("num_predict") or 128)
    return exchange.answer_json(200, {**answer, "response": "words", "done_reason": "length", **timings})


def chat(double: OllamaDouble, exchange: Exchange, body: dict[str, Any], stored: Stored) -> None:
    """An answer that says which weights gave it, streamed word by word unless told otherwise."""
    seconds, weights = keep_alive_seconds(body.get("keep_alive")), stored.layer("model")
    begun = {"model": body["model"], "created_at": datetime.now(UTC).isoformat()}
    _load(double, stored, seconds, (body.get("options") or {}).get("num_ctx"))
    words = ["from ", weights["digest"] if weights else "nothing"]
    ended = {"done": True, "done_reason": "stop", **_answering(double.speed, len(words))}
    with double.in_flight(stored.name.short):
        if body.get("stream", True) is False:
            return exchange.answer_json(200, {**begun, "message": _said("".join(words)), **ended})
        exchange.begin_stream()
        for word in words:
            line = {**begun, "message": _said(word), "done": False}
            exchange.send_chunk(json.dumps(line, separators=(",", ":")).encode() + b"\n")
        exchange.send_chunk(json.dumps({**begun, "message": _said(""), **ended}).encode() + b"\n")
        return exchange.end_stream()


def _said(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def _misfit(double: OllamaDouble, stored: Stored) -> str | None:
    """Why the runner ends: an adapter of another architecture than its base. A create does not look."""
    adapter, weights = stored.layer("adapter"), stored.layer("model")
    if adapter is None or weights is None:
        return None
    found = []
    for layer in (weights, adapter):
        with double.store.blob(layer["digest"]).open("rb") as file:
            found.append(gguf_pairs(file).get("general.architecture"))
    return None if found[0] == found[1] else "error: failed to apply lora adapter: model arch and LoRA arch mismatch"


def _unload(double: OllamaDouble, stored: Stored) -> None:
    """At once where it is idle; a request that runs is finished first, and nothing is kept alive after it.

    Found by the weights that it has open, as the real scheduler does: also under a name that has moved on since, and
    nothing under this name that has others open.
    """
    layer = stored.layer("model")
    for key, runner in list(double.runners.items()):
        if layer is None or runner.weights != layer["digest"]:
            continue
        if runner.busy:
            runner.keep_alive, runner.first_use, runner.expires_at = 0.0, False, datetime.now(UTC)
        else:
            double.runners.pop(key, None)


def _load(double: OllamaDouble, stored: Stored, keep_alive: float, context: int | None) -> bool:
    """Whether the model had to be loaded: one that is, with this context, only gets its time anew.

    Where the name has moved to other weights, those are loaded beside the old ones, which go when their time is over.
    """
    runner, layer = double.runners.get(stored.name.key), stored.layer("model")
    if runner is not None and layer is not None and runner.weights != layer["digest"]:
        double.runners[f"{stored.name.key}@{runner.weights}"] = double.runners.pop(stored.name.key)
        runner = None
    if runner is None or context not in (None, runner.context):
        double.load(stored.name.short, keep_alive=keep_alive, context=context)
        return True
    runner.keep_alive, runner.expires_at = keep_alive, datetime.now(UTC) + timedelta(seconds=keep_alive)
    return False


def _loading(double: OllamaDouble, *, fresh: bool) -> dict[str, int]:
    """Durations are nanoseconds."""
    return {"load_duration": round(1e9 * double.speed.load_seconds) if fresh else 1_000_000}


def _answering(speed: Speed, wanted: int) -> dict[str, int]:
    count = min(wanted, speed.most_tokens or wanted)
    return {
        "prompt_eval_count": speed.prompt_tokens,
        "prompt_eval_duration": round(1e9 * speed.prompt_tokens / speed.prefill),
        "eval_count": count,
        "eval_duration": round(1e9 * count / speed.decode),
    }


def keep_alive_seconds(value: object) -> float:
    """Seconds, or a Go duration; negative is for ever; absent is five minutes (1.8)."""
    if value is None:
        return 300.0
    if isinstance(value, str) and (parts := _DURATION.findall(value)):
        seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    else:
        seconds = float(str(value))
    return seconds if seconds >= 0 else 10.0**9
