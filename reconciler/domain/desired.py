"""The desired state, after defaults and units: what the rest of the code reads.

The file's own shape, with its twin keys and its schema, is ``domain.desired_document``; it becomes this at the edge.
"""

from __future__ import annotations

from typing import Literal

from reconciler.domain.adapter import Adapter
from reconciler.domain.document import Frozen
from reconciler.domain.estimate import KvCache, Profile
from reconciler.domain.hardware import Platform
from reconciler.domain.names import OLLAMA_LIBRARY
from reconciler.domain.units import GB, GIB, Bytes

RuntimeKind = Literal["store", "ollama", "llama-server", "advisory"]
"""What can be a target today; ``lm-studio`` and ``vllm`` are spelled ``advisory`` with a program."""


class HardwareOverride(Frozen):
    """A machine described by hand instead of detected."""

    platform: Platform
    vram_bytes: Bytes
    bandwidth_gbps: float | None = None
    """10⁹ bytes a second; None: looked up by ``gpu_name`` or ``cpu_name``."""
    ram_bytes: Bytes | None = None
    gpu_name: str | None = None
    cpu_name: str | None = None
    gpu_count: int = 1


class Pool(Frozen):
    """The budget and the trust that every model must respect."""

    disk_budget: Bytes = Bytes(100 * GIB)
    min_free_disk: Bytes | None = None
    """None: the smaller of 20 GB and 10 % of the file system, known when it is observed."""
    allowed_orgs: tuple[str, ...] = ()
    packagers: tuple[str, ...] = (OLLAMA_LIBRARY,)
    allowed_families: tuple[str, ...] = ()
    allowed_licenses: tuple[str, ...] = ()
    prune: Literal["always", "pressure", "never"] = "always"
    keep: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    allow_gap: bool = False

    def must_stay_free(self, disk_bytes: int) -> Bytes:
        """Bytes of a file system of this size that no model may take: as declared, else the default rule."""
        if self.min_free_disk is not None:
            return self.min_free_disk
        return Bytes(min(DEFAULT_MIN_FREE, int(disk_bytes * DEFAULT_MIN_FREE_SHARE)))


class Slot(Frozen):
    """A purpose to be met, or a pin."""

    name: str
    alias: str | None = None
    """Stable name on the slot's target that stands for what fills the slot."""
    profile: Profile = "general"
    model: str | None = None
    """Set: a pin. A catalogue id, a Hub repository, or an Ollama name."""
    quant: str | None = None
    quants: tuple[str, ...] = ()
    """Accepted quants, best first; empty: at least 4.25 bits per weight."""
    revision: str | None = None
    """Commit or tag of the Hub repository; None follows what was resolved first."""
    context: int | Literal["max"] | None = None
    """Tokens; ``max``: the most that fit the machine; None: 4096, at most the model's own."""
    kv_cache: KvCache = "f16"
    """Element type of the cache that the target is started with; it only enters the estimate."""
    parallel: int = 1
    """Conversations that the target serves at once, each of ``context`` tokens; it only enters the estimate."""
    capabilities: tuple[str, ...] = ()
    count: int = 1
    target: str | None = None
    min_tokens_per_second: float | None = None
    max_size: Bytes | None = None
    load: bool = False
    """The target loads it once it is there, where the target can be told."""
    update: Literal["hold", "follow"] = "hold"
    """What happens when the source offers other content under the same name."""
    line: int | None = None
    """Where the slot stands in the file, for messages; counted from 1."""

    @property
    def is_pin(self) -> bool:
        return self.model is not None

    @property
    def context_tokens(self) -> int | None:
        """The context where the file gives it as a number."""
        return None if self.context == "max" else self.context

    @property
    def addresses(self) -> tuple[str, ...]:
        return tuple(f"slot/{self.name}[{index}]" for index in range(self.count))


class SecretReference(Frozen):
    """Where a secret is, never the secret."""

    env: str | None = None
    file: str | None = None


class Target(Frozen):
    """One configured instance of a runtime."""

    name: str
    runtime: RuntimeKind = "store"
    endpoint: str | None = None
    """URL of a server."""
    path: str | None = None
    """Folder of a ``store``, absolute."""
    registry: str | None = None
    """Registry an Ollama pulls ranked models from, instead of ``hf.co``."""
    insecure: bool = False
    cache: str | None = None
    """Folder in which a llama-server keeps its downloads, absolute; None: where its variables say."""
    preset: str | None = None
    """The ``--models-preset`` file of a llama-server, absolute: where apply writes how it serves our models."""
    api_key_from: SecretReference | None = None
    """Where the key is that a llama-server or vLLM, or a proxy before it, asks for."""
    max_lora_rank: int | None = None
    """The largest rank of an adapter that a vLLM was started for; None: the file does not say."""
    program: Literal["lms", "vllm", "llama-server"] | None = None
    is_asked: bool = False
    """An advisory target with a server behind it that is looked at and takes adapters; its models are a person's."""
    hardware: HardwareOverride | None = None
    disk_budget: Bytes | None = None
    is_local: bool = True
    """On this host: takes the observed hardware and disk, and shares the pool's budget."""

    def is_insecure(self, host: str) -> bool:
        """Whether plain HTTP will do for this registry: only for the one that the file says it of."""
        return self.insecure and self.registry in (None, host)

    @property
    def key(self) -> str:
        """What ownership is keyed by: runtime and normalised endpoint or directory."""
        return f"{self.runtime}|{self.path or _normalised(self.endpoint or '') or self.program or ''}"


def _normalised(endpoint: str) -> str:
    """One spelling per server: lower case, no trailing slash, one name for this host."""
    address = endpoint.rstrip("/").lower()
    for spelling in ("//localhost", "//[::1]"):
        if address.endswith(spelling) or f"{spelling}:" in address or f"{spelling}/" in address:
            return address.replace(spelling, "//127.0.0.1", 1)
    return address


class Fuses(Frozen):
    """Limits on losses: evictions whose slot has no verified replacement in the plan."""

    max_evictions: int = 5
    max_evict_share: float = 0.5
    allow_empty: bool = False


class Refresh(Frozen):
    """How often the catalogue is asked again, and by how much a challenger must win."""

    interval_seconds: float = 86_400.0
    jitter_seconds: float = 600.0
    proposal_threshold: float = 5.0


class Hub(Frozen):
    """The Hub models come from."""

    endpoint: str = "https://huggingface.co"
    token_from: SecretReference | None = None


class Limits(Frozen):
    """How hard downloads may pull."""

    download_rate: Bytes | None = None
    """Bytes a second over all downloads of this host; None: no limit."""
    concurrent_downloads: int = 4
    """Connections per download."""


class DesiredState(Frozen):
    """What the file declares."""

    name: str = "default"
    enabled: bool = True
    pool: Pool = Pool()
    slots: tuple[Slot, ...] = ()
    slots_implied: bool = False
    targets: tuple[Target, ...] = ()
    adapters: tuple[Adapter, ...] = ()
    fuses: Fuses = Fuses()
    approval: Literal["manual", "auto"] = "manual"
    refresh: Refresh = Refresh()
    interval_seconds: float = 300.0
    hub: Hub = Hub()
    hardware: HardwareOverride | None = None
    limits: Limits = Limits()
    source: str = ""
    """Absolute path of the file, or its repository and path; what the record remembers."""
    digest: str = ""
    """Hex SHA-256 of the file's bytes."""
    notices: tuple[str, ...] = ()
    """What a person should know of how the file was read: implied targets, families that match nothing."""


DEFAULT_MIN_FREE = Bytes(20 * GB)
DEFAULT_MIN_FREE_SHARE = 0.10
DEFAULT_CONTEXT = 4096
MIN_BITS_PER_WEIGHT = 4.25
