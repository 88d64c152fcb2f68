"""What the tests of this folder share: a clock that stands still until told, and names for what is asked."""

from __future__ import annotations

import hashlib
import struct
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from reconciler.domain.catalog import Architecture, Build, CatalogModel, Catalogue, Repository
from reconciler.domain.desired import DesiredState, Pool, Refresh
from reconciler.domain.units import Bytes
from reconciler.integrations.catalog.hub import HubClient
from reconciler.integrations.catalog.hub_cache import HubCache
from reconciler.integrations.catalog.live import LiveCatalog
from reconciler.integrations.catalog.registry import RegistryClient
from reconciler.integrations.http import Http
from tests.doubles.hub import HUB, DoubleFile, HubDouble

START = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


class StillClock:
    """Stands still; sleeping moves it and is written down."""

    def __init__(self, now: datetime = START) -> None:
        self.time = now
        self.slept: list[float] = []

    def now(self) -> datetime:
        return self.time

    def elapsed(self) -> float:
        return sum(self.slept)

    def pass_hours(self, hours: float) -> None:
        self.time += timedelta(hours=hours)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += timedelta(seconds=seconds)


def gguf_bytes(architecture: str = "qwen9", *, tokens: int = 0, template: str | None = None, **keys: int) -> bytes:
    """A GGUF header: dimensions first, then a vocabulary, then the chat template, as converters write it."""
    facts = {"block_count": 36, "context_length": 40960, "embedding_length": 4096, "attention.head_count": 32}
    facts |= {"attention.head_count_kv": 8, "attention.key_length": 128}
    facts |= {key.replace("__", "."): value for key, value in keys.items()}
    pairs = [("general.architecture", _text(architecture))]
    pairs += [(f"{architecture}.{key}", struct.pack("<II", 4, value)) for key, value in facts.items()]
    vocabulary = b"".join(_string(f"token{number:07}") for number in range(tokens))
    pairs += [("tokenizer.ggml.tokens", struct.pack("<IIQ", 9, 8, tokens) + vocabulary)]
    pairs += [("tokenizer.chat_template", _text(template))] if template else []
    body = b"".join(_string(key) + value for key, value in pairs)
    return b"GGUF" + struct.pack("<IQQ", 3, 0, len(pairs)) + body


def _string(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def _text(text: str) -> bytes:
    return struct.pack("<I", 8) + _string(text)


def weights(content: bytes | None = None, *, size: int = 5_000_000_000, name: str = "") -> DoubleFile:
    """A model file that is larger than what the double holds of it."""
    held = gguf_bytes() if content is None else content
    return DoubleFile(held, size=size, sha256=hashlib.sha256(held + name.encode() + str(size).encode()).hexdigest())


def quants(stem: str, *names: str, content: bytes | None = None) -> dict[str, DoubleFile]:
    """One file per quant, sized by its place: 4, 5, 6 … GB."""
    return {
        f"{stem}-{quant}.gguf": weights(content, size=(4 + index) * 10**9, name=quant)
        for index, quant in enumerate(names)
    }


def known_model(model_id: str = "Qwen/Qwen3-8B", *repos: str, generation: str = "3", rank: int = 4) -> CatalogModel:
    builds = (Build(quant="Q4_K_M", bytes=Bytes(5_030_000_000), exact=False),)
    return CatalogModel(
        id=model_id,
        lineage="qwen",
        generation=generation,
        line="general",
        params=8_190_000_000,
        active_params=None,
        gguf_weights=8_190_000_000,
        architecture=Architecture("qwen3", layers=36, hidden=4096, heads=32, kv_heads=8, head_dim=128),
        context_length=40960,
        license="apache-2.0",
        released=date(2025, 4, 28),
        repositories=tuple(Repository(repo, builds, source="snapshot") for repo in repos),
        generation_rank=rank,
        sources=("snapshot",),
    )


def snapshot(*models: CatalogModel) -> Catalogue:
    shown = models or (known_model("Qwen/Qwen3-8B", "unsloth/Qwen3-8B-GGUF"),)
    return Catalogue(models=shown, observations=(), generated_at=date(2026, 9, 1), origin="bundled")


def desired(
    *,
    allowed: tuple[str, ...] = ("Qwen",),
    packagers: tuple[str, ...] = ("ollama-library",),
    interval_hours: float = 24,
) -> DesiredState:
    pool = Pool(allowed_orgs=allowed, packagers=packagers)
    return DesiredState(pool=pool, refresh=Refresh(interval_seconds=interval_hours * 3600))


class Stage:
    """A live catalogue over a double, with everything a test may turn."""

    def __init__(self, folder: Path, double: HubDouble | None = None, **changes: object) -> None:
        self.clock = StillClock()
        self.double = double or HubDouble(granted=["hf_granted"])
        self.path = folder / "huggingface.json"
        self.shipped = snapshot()
        self.token: str | None = None
        self.made = 0
        self.changes = changes

    def hub(self) -> HubClient:
        self.made += 1
        http = Http(clock=self.clock, transport=self.double.transport(), retries=0)
        return HubClient(http, endpoint=HUB, token=self.token)

    def registry(self) -> RegistryClient:
        return RegistryClient(Http(clock=self.clock, transport=self.double.transport(), retries=0))

    def catalog(self) -> LiveCatalog:
        """As a new process would make it: only the disk is shared."""
        return LiveCatalog(
            bundled=lambda: self.shipped,
            hub=self.hub,
            registry=self.registry,
            cache=HubCache(self.path, clock=self.clock),
            clock=self.clock,
            endpoint=HUB,
            **self.changes,  # type: ignore[arg-type]
        )
