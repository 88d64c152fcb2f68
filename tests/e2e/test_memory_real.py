"""Our memory estimates against the buffers that a real llama-server plans and allocates.

The quick set plans a dozen small architectures and a few of real dimensions, and loads the real chat model once.
``LOCALMODELS_MEMORY_MATRIX=1`` plans every architecture at real dimensions, contexts, cache types and slots.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from reconciler.domain.catalog import Build, CatalogModel
from reconciler.domain.estimate import MemoryEstimate, Requirement
from reconciler.domain.units import Bytes
from reconciler.formats.gguf import GgufHeader, architecture_of, read_header, read_tensors, weights_of
from reconciler.ranking.memory import estimate_memory
from tests.e2e.llama_memory import (
    MIB,
    Buffers,
    MadeUp,
    deepseek,
    dense,
    falcon_h1,
    gemma,
    gemma3n,
    gemma4,
    glm4_moe,
    gpt_oss,
    granite_hybrid,
    jamba,
    lfm2,
    llama4,
    loaded_buffers,
    mamba2,
    mixture,
    nemotron_h,
    planned_buffers,
    qwen35,
)
from tests.ranking.made import machine

CPU = machine("cpu", ram=4096)
LOG_RESOLUTION = 0.02 * MIB
"""Sizes are logged with two decimals."""
_HEADER_BYTES = 2**24
"""Of a sparse file of any size."""

SMALL: dict[str, Callable[[], MadeUp]] = {
    "llama": dense,
    "qwen2": lambda: dense("qwen2"),
    "qwen3": lambda: dense("qwen3"),
    "qwen3moe": mixture,
    "gemma2": lambda: gemma("gemma2", window=1024),
    "gemma3": gemma,
    "gemma4": gemma4,
    "gpt-oss": gpt_oss,
    "deepseek2": deepseek,
    "qwen35": qwen35,
    "falcon-h1": falcon_h1,
    "granitehybrid": granite_hybrid,
    "lfm2": lfm2,
    "mamba2": mamba2,
    "nemotron_h": nemotron_h,
    "glm4moe": glm4_moe,
    "llama4": llama4,
    "gemma3n": gemma3n,
    "jamba": jamba,
}
REAL: dict[str, Callable[[], MadeUp]] = {
    "Llama-3.1-8B": lambda: dense(
        layers=32, hidden=4096, width=14336, heads=32, kv=8, head=128, vocab=128256
    ),
    "Qwen3-32B": lambda: dense(
        "qwen3", layers=64, hidden=5120, width=25600, heads=64, kv=8, head=128, vocab=151936
    ),
    "Qwen2.5-7B": lambda: dense(
        "qwen2", layers=28, hidden=3584, width=18944, heads=28, kv=4, head=128, vocab=152064
    ),
    "Qwen3-30B-A3B": lambda: mixture(
        layers=48, hidden=2048, width=768, heads=32, kv=4, head=128, experts=128, used=8, vocab=151936
    ),
    "gpt-oss-20b": lambda: gpt_oss(
        layers=24, hidden=2880, width=2880, heads=64, kv=8, head=64, experts=32, used=4, vocab=201088
    ),
    "gemma-3-27b": lambda: gemma(
        layers=62, hidden=5376, width=21504, heads=32, kv=16, head=128, window=1024, vocab=262144
    ),
    "gemma-2-9b": lambda: gemma(
        "gemma2", layers=42, hidden=3584, width=14336, heads=16, kv=8, head=256, window=4096, vocab=256000
    ),
    "gemma-4-E4B": lambda: gemma4(
        layers=42, hidden=2560, width=10240, heads=8, kv=2, wide=2, head=256, full=512, shared=18, vocab=262144
    ),
    "DeepSeek-V3": lambda: deepseek(
        layers=61, hidden=7168, width=18432, heads=128, rank=512, rope=64, nope=128, value=128, experts=256, used=8,
        expert_width=2048, vocab=129280,
    ),
    "Qwen3.6-27B": lambda: qwen35(
        layers=64, hidden=5120, width=17408, heads=24, kv=4, head=256, state=128, key_heads=16, value_heads=48,
        vocab=248320,
    ),
    "Falcon-H1-7B": lambda: falcon_h1(
        layers=44, hidden=3072, width=12288, heads=12, kv=2, head=128, inner=3072, state=256, ssm_heads=24,
        vocab=130048,
    ),
    "granite-4.0-h-small, dense": lambda: granite_hybrid(
        layers=40, hidden=4096, width=8192, heads=32, kv=8, head=128, inner=8192, state=128, ssm_heads=128, every=10,
        vocab=100352,
    ),
    "LFM2-1.2B": lambda: lfm2(layers=16, hidden=2048, width=8192, heads=32, kv=8, vocab=65536),
    "gemma-3n-E4B": lambda: gemma3n(layers=35, hidden=2048, width=16384, heads=8, kv=2, head=256, vocab=262144),
    "Jamba2-Mini, dense": lambda: jamba(
        layers=32, hidden=4096, width=14336, heads=32, kv=8, head=128, inner=8192, rank=256, vocab=65536
    ),
    "mamba2-1.3b": lambda: mamba2(layers=48, hidden=2048, inner=4096, state=128, ssm_heads=64, vocab=50288),
    "GLM-4.5-Air": lambda: glm4_moe(
        layers=47, hidden=4096, width=10944, heads=96, kv=8, head=128, experts=128, used=8, expert_width=1408,
        vocab=151552,
    ),
    "Llama-4-Scout": lambda: llama4(
        layers=48, hidden=5120, width=8192, heads=40, kv=8, head=128, experts=16, vocab=202048
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """One way to start the server, and the requirement it corresponds to."""

    context: int = 4000
    cache: str = "f16"
    parallel: int = 1
    unified: bool = False

    @property
    def requirement(self) -> Requirement:
        return Requirement(context=self.context, kv_cache=self.cache, parallel=self.parallel, kv_unified=self.unified)

    @property
    def flags(self) -> tuple[str, ...]:
        """``-c`` is of all sequences together."""
        total = self.context if self.unified else self.context * self.parallel
        words = ("-c", str(total), "-np", str(self.parallel), "-ctk", self.cache, "-ctv", self.cache)
        return (*words, "-fa", "on" if self.cache != "f16" else "auto", "-kvu" if self.unified else "-no-kvu")


QUICK = (Asked(), Asked(8192, "q8_0"), Asked(2000, "q4_0", parallel=3), Asked(5000, parallel=4, unified=True))
MATRIX = (*QUICK, Asked(131072), Asked(131072, "q8_0"), Asked(32768, "q4_0"), Asked(16384, parallel=4))


def header_of(path: Path) -> GgufHeader:
    with path.open("rb") as file:
        header = read_header(file.read(_HEADER_BYTES))
    assert isinstance(header, GgufHeader)
    return header


def model_of(path: Path) -> CatalogModel:
    """What a resolved pick knows: nothing but what its own file says."""
    header = header_of(path)
    return CatalogModel(
        id="acme/made", lineage="made", generation="", line="general", params=None, active_params=None,
        gguf_weights=None, architecture=architecture_of(header), context_length=header.context_length, license=None,
        released=None,
    )  # fmt: skip


def estimate(path: Path, asked: Asked) -> MemoryEstimate:
    build = Build("F16", Bytes(path.stat().st_size), exact=True)
    return estimate_memory(model_of(path), build, asked.requirement, CPU)


def assert_agrees(ours: MemoryEstimate, theirs: Buffers, label: object) -> None:
    assert ours.basis == "architecture", label
    assert ours.kv_bytes == pytest.approx(theirs.kv, rel=0.01, abs=LOG_RESOLUTION), label
    assert ours.state_bytes == pytest.approx(theirs.state, rel=0.01, abs=LOG_RESOLUTION), label
    assert abs(ours.compute_bytes - theirs.compute - theirs.output) <= 16 * MIB, label
    total = ours.weights_bytes + theirs.kv + theirs.state + theirs.compute + theirs.output
    assert abs(ours.total_bytes - total) <= max(0.05 * total, 64 * MIB), label


@pytest.mark.parametrize("name", SMALL)
def test_small_models_of_every_architecture(name, llama_server, tmp_path):
    made = SMALL[name]().write(tmp_path / "model.gguf")
    for asked in QUICK:
        assert_agrees(estimate(made, asked), planned_buffers(llama_server, made, *asked.flags), asked)


@pytest.mark.parametrize("name", ["Llama-3.1-8B", "gemma-3-27b", "DeepSeek-V3", "Qwen3.6-27B"])
def test_real_dimensions(name, llama_server, tmp_path):
    made = REAL[name]().write(tmp_path / "model.gguf")
    asked = Asked(131072)
    assert_agrees(estimate(made, asked), planned_buffers(llama_server, made, *asked.flags), asked)


@pytest.mark.skipif(not os.environ.get("LOCALMODELS_MEMORY_MATRIX"), reason="LOCALMODELS_MEMORY_MATRIX is not set")
@pytest.mark.parametrize("name", REAL)
def test_the_matrix(name, llama_server, tmp_path):
    made = REAL[name]().write(tmp_path / "model.gguf")
    for asked in MATRIX:
        assert_agrees(estimate(made, asked), planned_buffers(llama_server, made, *asked.flags), asked)


def test_the_real_model_as_it_is_loaded(llama_server, model):
    """Weights, cache and buffers as allocated, and the whole process as the system sees it."""
    asked = Asked(8192)
    ours = estimate(model, asked)
    theirs, resident = loaded_buffers(llama_server, model, *asked.flags)
    assert_agrees(ours, theirs, asked)
    assert ours.weights_bytes == pytest.approx(theirs.weights, rel=0.05)
    logged = theirs.weights + theirs.kv + theirs.state + theirs.compute + theirs.output
    assert abs(ours.total_bytes - logged) <= max(0.05 * logged, 64 * MIB)
    assert abs(ours.total_bytes - resident) <= max(0.05 * resident, 64 * MIB)


def test_the_tensors_of_the_real_model_are_its_weights(model):
    data = model.read_bytes()
    header = header_of(model)
    tensors = read_tensors(data, header)
    assert isinstance(tensors, tuple)
    weights = weights_of(tensors, header)
    assert (weights.params, weights.bytes) == (134_515_008, pytest.approx(len(data), rel=0.05))
