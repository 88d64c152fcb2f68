"""What we say of an adapter is what a real llama-server does with it: it starts, or it stops at once."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.e2e.rig import fetch, free_port, llama_server_command, packaged_model
from tests.lora_files import adapter_for, base_shapes

Make = Callable[[Path, Path], Path]


def _turned(base: Path, path: Path) -> Path:
    """Every module with its outputs for inputs."""
    _, shapes = base_shapes(base)
    wrong = {name: (64, 64) for name in shapes if name.endswith("attn_q.weight")}
    return adapter_for(base, path, shapes=wrong)


def _no_such_layer(base: Path, path: Path) -> Path:
    return adapter_for(base, path, shapes={"blk.99.attn_q.weight": (576, 576)})


def _half(base: Path, path: Path) -> Path:
    return adapter_for(base, path, leave_out=["blk.0.attn_q.weight.lora_b"])


def _whole_tensor(base: Path, path: Path) -> Path:
    return adapter_for(base, path, more={"output.weight": np.zeros((8, 576), np.float32)})


def _bias(base: Path, path: Path) -> Path:
    return adapter_for(base, path, more={"blk.0.attn_q.bias": np.zeros(576, np.float32)})


def _norm(base: Path, path: Path) -> Path:
    return adapter_for(base, path, more={"blk.0.attn_norm.weight": np.zeros(576, np.float32)})


def _cut(base: Path, path: Path) -> Path:
    made = adapter_for(base, path)
    made.write_bytes(made.read_bytes()[:-4096])
    return made


ADAPTERS: dict[str, tuple[Make, str | None]] = {
    "good": (adapter_for, None),
    "all modules": (
        lambda base, path: adapter_for(
            base, path, roles=("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"), rank=3
        ),
        None,
    ),
    "norms beside": (_norm, None),
    "without alpha": (lambda base, path: adapter_for(base, path, alpha=None), None),
    "another architecture": (lambda base, path: adapter_for(base, path, architecture="qwen2"), "base_shape_mismatch"),
    "other widths": (_turned, "base_shape_mismatch"),
    "a layer too many": (_no_such_layer, "base_shape_mismatch"),
    "half a pair": (_half, "pair_incomplete"),
    "a whole tensor": (_whole_tensor, "tensors_refused"),
    "a bias": (_bias, "tensors_refused"),
    "cut off": (_cut, "weights_unreadable"),
    "no adapter type": (lambda base, path: adapter_for(base, path, adapter_type=None), "adapter_type_not_lora"),
    "another adapter type": (
        lambda base, path: adapter_for(base, path, adapter_type="alora2"),
        "adapter_type_not_lora",
    ),
    "a model": (lambda base, path: adapter_for(base, path, kind="model"), "weights_unreadable"),
}


@pytest.mark.e2e
@pytest.mark.parametrize("name", ADAPTERS)
def test_the_verdict_is_the_servers(name: str, tmp_path: Path) -> None:
    base = packaged_model()
    make, code = ADAPTERS[name]
    adapter = make(base, tmp_path / "adapter.gguf")
    report = _inspected(adapter, base)
    errors = [one["code"] for one in report["findings"] if one["severity"] == "error"]
    assert errors == ([code] if code else []), report["findings"]
    assert report["ok"] is _starts(base, adapter, tmp_path / "log"), (tmp_path / "log").read_text()[-2000:]


def _inspected(adapter: Path, base: Path) -> dict:
    command = [sys.executable, "-m", "reconciler", "lora", "inspect", str(adapter), "--json", "--provider", "llamacpp"]
    command += ["--base", "HuggingFaceTB/SmolLM2-135M-Instruct", "--base-gguf", str(base)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    answer = json.loads(done.stdout)
    assert done.returncode == (0 if answer["ok"] else 1), done.stderr
    return answer["data"] or answer["error"]["details"]


def _starts(base: Path, adapter: Path, log: Path) -> bool:
    """Whether the server becomes healthy with this adapter; it ends at once where it does not."""
    port = free_port()
    command = [llama_server_command(), "-m", str(base), "--lora", str(adapter), "-c", "64", "-t", "1"]
    with log.open("wb") as told:
        process = subprocess.Popen([*command, "--port", str(port), "--no-warmup"], stdout=told, stderr=told)
    try:
        for _ in range(600):
            if process.poll() is not None:
                return False
            try:
                if fetch(f"http://127.0.0.1:{port}/health", seconds=2)["status"] == "ok":
                    return len(fetch(f"http://127.0.0.1:{port}/lora-adapters")) == 1
            except OSError:
                time.sleep(0.1)
    finally:
        process.kill()
        process.wait()
    pytest.fail("neither healthy nor ended")
