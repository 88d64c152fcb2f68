"""The doors of ``lora inspect``: one file of an adapter, of its base or of its contract is anything, the rest is whole."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

from reconciler.engine.lora.inspect import InspectRequest, inspect
from reconciler.integrations.files.adapter_files import LocalAdapterFiles
from reconciler.lora.contract import Contract
from reconciler.lora.dialect import OURS
from tests.lora.tables import route
from tests.lora_files import PEFT, TINY, folder, gguf_adapter

BASE = "acme/tiny-llama"
TENSORS = {"blk.0.attn_q.weight": (16, 16), "blk.1.attn_v.weight": (16, 8), "token_embd.weight": (16, 32)}


@cache
def _place() -> Path:
    place = Path(tempfile.mkdtemp(prefix="fuzz-adapter-"))
    folder(place / "whole")
    return place


def _read(content: bytes, *, file: str, provider: str = "vllm", **request: str) -> object:
    """Inspects the adapter with ``file`` replaced, and puts back what stood there."""
    path = _place() / file
    path.parent.mkdir(parents=True, exist_ok=True)
    before = path.read_bytes() if path.exists() else b""
    path.write_bytes(content)
    named = {key: str(_place() / value) for key, value in request.items()}
    wanted = InspectRequest(**({"adapter": str(_place() / "whole")} | named))
    try:
        return inspect(wanted, route(BASE, provider), LocalAdapterFiles({}), OURS).model_dump_json()
    finally:
        path.write_bytes(before)


def _of_peft(file: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted(PEFT.glob(f"*/{file}"))]


def _gguf() -> list[bytes]:
    return [gguf_adapter(_place() / "made.gguf", "llama", TENSORS).read_bytes()]


def _manifest() -> list[bytes]:
    words = {"base_model": BASE, "provider": "vllm", "harn_tool_format": "native", "dataset_format": "x"}
    contract = {"schema_version": 3, "id": Contract(**words).id, "chat_template": None} | words
    contract |= {"target_modules": {"policy": "all_linear", "modules": ["all-linear"]}}
    whole = {
        "target": {"adapter_name": "a"},
        "serving": {"request_model": "a"},
        "artifacts": [{"path": "x", "sha256": "y"}],
    }
    return [json.dumps({"contract": contract} | whole).encode()]


ADAPTER_DOORS: dict[str, tuple[Callable[[], list[bytes]], Callable[[bytes], object]]] = {
    "adapter's own configuration": (
        partial(_of_peft, "adapter_config.json"), partial(_read, file="whole/adapter_config.json"),
    ),
    "adapter's weights": (
        partial(_of_peft, "adapter_model.safetensors"), partial(_read, file="whole/adapter_model.safetensors"),
    ),
    "adapter in GGUF": (_gguf, partial(_read, file="lone/a.gguf", provider="llamacpp", adapter="lone/a.gguf")),
    "adapter's contract": (_manifest, partial(_read, file="manifest.json", manifest="manifest.json")),
    "base of an adapter": (
        lambda: [json.dumps(TINY).encode(), json.dumps({"model_type": "gemma3", "text_config": TINY}).encode()],
        partial(_read, file="config.json", base_config="config.json"),
    ),
    "base of an adapter in GGUF": (_gguf, partial(_read, file="base.gguf", base_gguf="base.gguf")),
}  # fmt: skip
"""How each is made whole, and how it is read."""
