"""Models, machines and catalogues for the ranking tests: sensible defaults, override what matters."""

from __future__ import annotations

from datetime import UTC, date, datetime

from reconciler.domain.catalog import (
    Architecture,
    BenchmarkObservation,
    Build,
    CatalogModel,
    Catalogue,
    Repository,
)
from reconciler.domain.estimate import Candidate
from reconciler.domain.hardware import Device, Hardware
from reconciler.domain.units import GIB, Bytes

SEED_DAY = date(2026, 5, 28)
NOTHING = Architecture(None)
LLAMA_8B = Architecture("llama", 32, 4096, 32, 8, 128, 128256)


def model(
    id_="acme/alpha-8B",
    *,
    billions=8.0,
    active=None,
    architecture=NOTHING,
    builds=("Q4_K_M",),
    repository=None,
    line="general",
    released=date(2025, 6, 1),
    **more,
) -> CatalogModel:
    made = tuple(b if isinstance(b, Build) else Build(b, Bytes(0), exact=False) for b in builds)
    repositories = more.pop("repositories", (Repository(repository or f"{id_}-GGUF", made),))
    return CatalogModel(
        id=id_,
        lineage=more.pop("lineage", id_),
        generation=more.pop("generation", ""),
        line=line,
        params=None if billions is None else round(billions * 1e9),
        active_params=None if active is None else round(active * 1e9),
        gguf_weights=more.pop("gguf_weights", None),
        architecture=architecture,
        context_length=more.pop("context_length", 131072),
        license="apache-2.0",
        released=released,
        repositories=repositories,
        **more,
    )


def observation(model_id, value, *, benchmark="mmlu-pro", observed_at=SEED_DAY, **more) -> BenchmarkObservation:
    return BenchmarkObservation(
        model_id,
        benchmark,
        value,
        more.pop("scale", "0-100"),
        more.pop("source", "open-llm-leaderboard"),
        observed_at,
        **more,
    )


def catalogue(models=(), observations=()) -> Catalogue:
    return Catalogue(tuple(models), tuple(observations), SEED_DAY, "bundled")


def candidate(of: CatalogModel, quant="Q4_K_M", repository=None) -> Candidate:
    return Candidate(of, repository or of.repositories[0], Build(quant, Bytes(0), exact=False))


def machine(
    platform="nvidia", *, vram=24.0, gbps=1008.0, ram=64.0, ram_gbps=80.0, reserve=0.0, count=1, **device
) -> Hardware:
    vendor = {"nvidia": "nvidia", "macos": "apple", "amd": "amd", "intel": "intel", "cpu": "other"}[platform]
    devices = tuple(
        Device(
            name=device.get("name", "made"),
            vendor=vendor,
            memory_bytes=Bytes(round(vram * GIB)),
            bandwidth_gbps=gbps,
            unified=platform == "macos",
            **{key: value for key, value in device.items() if key != "name"},
        )
        for _ in range(0 if platform == "cpu" else count)
    )
    return Hardware(
        platform=platform,
        devices=devices,
        ram_bytes=Bytes(round(ram * GIB)),
        ram_bandwidth_gbps=ram_gbps,
        ram_reserve_bytes=Bytes(round(reserve * GIB)),
        cpu_name="made",
        cpu_count=8,
        detected_at=datetime(2026, 5, 28, tzinfo=UTC),
    )


M3_MAX = machine("macos", vram=36, gbps=300.0, ram=36, ram_gbps=300.0)
RTX_4090 = machine("nvidia", vram=24, gbps=1008.0, ram=64)


def seed() -> Catalogue:
    """The origin's bundled snapshot: three models, one placeholder observation each."""
    qwen, r1, llama = (
        "Qwen/Qwen3-32B-GGUF",
        "deepseek-ai/DeepSeek-R1-Distill-Qwen-32B-GGUF",
        "meta-llama/Llama-3.3-70B-Instruct-GGUF",
    )
    return catalogue(
        [
            model(qwen, billions=32, repository=qwen, ollama_tag="qwen3:32b"),
            model(r1, billions=32, repository=r1, ollama_tag="deepseek-r1:32b"),
            model(llama, billions=70, repository=llama, ollama_tag="llama3.3:70b"),
        ],
        [
            observation(qwen, 64.2, evidence="base", observed_at=date(2026, 5, 1)),
            observation(r1, 67.8, evidence="variant", observed_at=date(2026, 4, 22)),
            observation(llama, 71.0, evidence="direct", observed_at=date(2026, 3, 15)),
        ],
    )
