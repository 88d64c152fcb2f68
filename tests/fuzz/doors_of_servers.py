"""What a llama-server answers, streams and keeps, and the files of an adapter: doors beside those of ``doors``."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from reconciler.domain.desired import Target
from reconciler.errors import ReconcilerError
from reconciler.formats.gguf import NeedMore
from reconciler.formats.safetensors_header import read_safetensors
from reconciler.integrations.http import Http
from reconciler.integrations.runtimes.llama_server import LlamaServer
from reconciler.integrations.runtimes.llama_server_api import LlamaServerApi
from reconciler.integrations.runtimes.llama_server_preset import read_preset
from reconciler.integrations.runtimes.server import Server
from reconciler.lora.adapter_config import read_adapter_config
from reconciler.lora.corpus import CorpusLine, read_row
from tests.fakes import FixedClock

NAME = "acme/alpha-GGUF:Q8_0"
ROUTER = {
    "build_info": "b10434", "role": "router", "success": True,
    "data": [{
        "id": NAME, "source": "cache", "can_remove": True, "meta": {"size": 900},
        "status": {"value": "loaded", "preset": "[x]\nctx-size = 512\nparallel = 2\n", "failed": False, "exit_code": 0},
    }],
    "error": {"message": "model limit reached"},
}  # fmt: skip
SLOTS = [{"id": 0, "is_processing": True, "n_ctx": 512}, {"id": 1, "is_processing": False}]
EVENTS = [
    {"model": NAME, "event": "download_progress", "data": {"progress": {
        "http://127.0.0.1/acme/alpha-GGUF/resolve/main/alpha-Q8_0.gguf": {"done": 4, "total": 9}}}},
    {"model": NAME, "event": "download_finished"},
    {"model": NAME, "event": "model_status", "data": {"status": "loaded"}},
]  # fmt: skip
PRESET = (
    b"version = 1\n\n; mine\n[*]\nthreads = 2\n\n; written by localmodels\n[acme/alpha-GGUF:Q8_0]\nctx-size = 512\n"
)
CONFIG = {
    "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": "acme/alpha", "r": 8, "lora_alpha": 16,
    "target_modules": ["q_proj", "v_proj"], "rank_pattern": {"q": 4}, "layers_to_transform": [0, 1], "use_dora": False,
}  # fmt: skip
CORPUS = {
    "id": "one", "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": [{"type": "text", "text": "yes"}],
    "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}], "tools": [{"type": "function", "function": {"name": "f"}}],
}  # fmt: skip
TENSORS = {
    "a.lora_A.weight": {"dtype": "F16", "shape": [2, 4], "data_offsets": [0, 16]},
    "__metadata__": {"format": "pt"},
}


def examples(*documents: object) -> Callable[[], list[bytes]]:
    return lambda: [json.dumps(document).encode() for document in documents]


def event_examples() -> list[bytes]:
    return [b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in EVENTS)]


def safetensors_examples() -> list[bytes]:
    header = json.dumps(TENSORS).encode()
    return [struct.pack("<Q", len(header)) + header + bytes(16)]


async def router_answers(http: Callable[[], Http]) -> None:
    """Everything that is asked of a router in a look, an eviction and a change of its settings."""
    target = Target(name="r", runtime="llama-server", endpoint="http://127.0.0.1:9", cache="/nowhere/at/all")
    runtime = LlamaServer(target, http=http, clock=FixedClock(), environ={})
    await runtime.observe()
    api = LlamaServerApi(Server("http://127.0.0.1:9", http=http))
    for asked in (
        api.version,
        api.models,
        lambda: api.busy_slots(NAME),
        lambda: api.download(NAME),
        lambda: api.delete(NAME),
    ):
        with suppress(ReconcilerError):
            await asked()  # type: ignore[operator]
    for changed in (lambda: runtime.remove(NAME), lambda: runtime.digest(NAME, lambda *_: None)):
        with suppress(ReconcilerError):
            await changed()  # type: ignore[operator]


async def router_events(http: Callable[[], Http]) -> None:
    async for event in LlamaServerApi(Server("http://127.0.0.1:9", http=http)).events(idle_timeout_seconds=1):
        assert len(event.files) < 10_000


def preset(path: Path) -> object:
    found = read_preset(path)
    return [(section.serving, found.without_section(name).text) for name, section in found.sections.items()]


def safetensors(content: bytes) -> object:
    try:
        found = read_safetensors(content, size=10**6)
    except ValueError as error:
        return str(error)
    return found if isinstance(found, NeedMore) else None


def adapter_config(content: bytes) -> object:
    try:
        return read_adapter_config(content)
    except ValueError as error:
        return str(error)


def corpus(content: bytes) -> object:
    return [read_row(CorpusLine(number, line)) for number, line in enumerate(content.split(b"\n"), 1)]
