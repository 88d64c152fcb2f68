"""The desired state file exactly as a person may write it, in both of its forms.

The JSON Schema is made from these classes; the string under a field is what an editor shows for its key. What is not
built yet is not here. What the keys mean together is ``domain.desired_rules``; the value all other code reads is
``domain.desired``, made by ``to_desired``.
"""

# ruff: noqa: RUF012 - pydantic copies a default for each value

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError

from reconciler.domain.desired_scalars import (
    INTEGRAL,
    AliasName,
    Count,
    Duration,
    Gibibytes,
    Given,
    Glob,
    Line,
    Name,
    Organisation,
    Path,
    PositiveSize,
    Quant,
    RegistryHost,
    Size,
    Tokens,
    Url,
    Variable,
    Word,
)
from reconciler.domain.estimate import KvCache, Profile
from reconciler.domain.hardware import Platform
from reconciler.domain.names import OLLAMA_LIBRARY
from reconciler.domain.written import Written
from reconciler.domain.written_adapter import Adapter

API_VERSION = "localmodels.dev/v1alpha1"
KIND = "LocalModels"
HOUR_MS = 3_600_000

Capability = Literal["tools", "thinking", "vision", "audio", "code", "embedding", "rerank", "omni"]


def _no_harness_fit(value: object) -> object:
    if value is True:
        hint = "write 'enabled: false', or leave harnessFit out"
        raise PydanticCustomError("not_built", "{what}", {"what": "harnessFit", "hint": hint})
    return value


class Pool(Written):
    """The disk models may take, and whom to trust."""

    twins = (("diskBudget", "diskBudgetGb"),)

    disk_budget: Given[PositiveSize] = None
    """Disk all models on this host's targets may take together, such as 120GB. Without it: 100GiB."""
    disk_budget_gb: Given[Gibibytes] = None
    """The same in GiB, as a plain number. One of the two at most."""
    min_free_disk: Given[Size] = None
    """Disk that stays free whatever the budget says. Without it: 20GB, or 10 % of a smaller file system."""
    allowed_orgs: list[Organisation] = []
    """Publishers that are trusted: organisations of the Hub, case as there. Empty: nothing may be installed."""
    packagers: list[Organisation] = [OLLAMA_LIBRARY]
    """Who may re-package models of the allowed publishers, such as unsloth; ollama-library is Ollama's own library."""
    allowed_families: list[Line] = []
    """Families of models, such as qwen, qwen3 or llama-3. Empty: every family of the allowed publishers."""
    allowed_licenses: list[Line] = []
    """Licences, such as apache-2.0. Empty: any; otherwise an unknown licence is refused."""
    prune: Literal["always", "pressure", "never"] = "always"
    """When to evict our own models that nothing asks for: at every apply, only for room, or never."""
    keep: list[Glob] = []
    """Names that are never evicted, such as my-finetune:latest; * stands for any characters."""
    never: list[Glob] = []
    """Names that are never installed, such as *-uncensored*."""
    allow_gap: bool = False
    """Let a model go before its replacement is there, where both do not fit together."""


class Slot(Written):
    """A purpose to be met by the best model that fits (profile), or one exact model (a pin)."""

    name: Name
    """What the slot is called; unique."""
    alias: Given[AliasName] = None
    """A stable name for clients, unique on its target: it stands for whatever fills the slot, and moves with it."""
    profile: Given[Profile] = None
    """What the model is for. Without it, and without model: general."""
    model: Given[Word] = None
    """Pins exactly this model: a catalogue id, a Hub repository (org/name), or an Ollama name (qwen3:8b)."""
    quant: Given[Quant] = None
    """The quant of a pinned model, such as Q4_K_M."""
    quants: Given[Annotated[list[Quant], Field(min_length=1)]] = None
    """Quants that are accepted, best first. Without it: 4.25 bits per weight and more."""
    revision: Given[Word] = None
    """Commit or tag of a pinned Hub repository."""
    context: Given[Tokens] = None
    """Tokens the model must hold in memory; max: as many as fit the machine. Without it: 4096."""
    kv_cache: KvCache = "f16"
    """Type of the cache the target is started with; it enters the estimate, and the command of an advisory target."""
    parallel: Annotated[int, Field(ge=1, le=1024), INTEGRAL] = 1
    """Conversations served at once, each of context tokens; it enters what kvCache enters."""
    capabilities: list[Capability] = []
    """What the model must be able to do, such as tools."""
    count: Annotated[int, Field(ge=1, le=64), INTEGRAL] = 1
    """How many different models fill the slot."""
    target: Given[Name] = None
    """The target it goes to. Without it: where it is installed, else the first target that can hold it."""
    min_tokens_per_second: Given[Annotated[float, Field(gt=0, le=1_000_000)]] = None
    """The least decode speed."""
    max_size: Given[PositiveSize] = None
    """The most disk the model may take, such as 20GB."""
    load: bool = False
    """Have a llama-server with a preset file load it once it is installed, and whenever that starts."""
    update: Literal["hold", "follow"] = "hold"
    """When the source offers other content under the same name: keep what we have, or follow it."""


class HardwareOverride(Written):
    """A machine described by hand."""

    platform: Platform
    """The vendor of the accelerators, macos for Apple silicon, or cpu for none."""
    vram_gb: Given[Annotated[float, Field(ge=0, le=10**6)]] = None
    """Memory of one accelerator, in GiB; of the whole machine where it is shared."""
    bandwidth_gbps: Given[Annotated[float, Field(gt=0, le=10**6)]] = None
    """Memory bandwidth of one accelerator, in 10⁹ bytes a second. Without it: looked up by gpuName or cpuName."""
    ram_gb: Given[Annotated[float, Field(gt=0, le=10**6)]] = None
    """Main memory in GiB. Without it: assumed from vramGb."""
    gpu_name: Given[Line] = None
    """Name of the accelerator, as its driver prints it."""
    cpu_name: Given[Line] = None
    """Name of the processor."""
    gpu_count: Annotated[int, Field(ge=1, le=64), INTEGRAL] = 1
    """How many such accelerators there are."""


class Hardware(Written):
    """The machine, where detection must not decide."""

    override: Given[HardwareOverride] = None
    """Describes the machine instead of detecting it."""


class TargetOverride(Written):
    """The machine of a target, written as at the top level."""

    override: HardwareOverride
    """Describes the machine the target runs on."""


def _hardware_form(value: object) -> str:
    return "wrapped" if isinstance(value, dict | TargetOverride) and "override" in dict(value) else "plain"


TargetHardware = Annotated[
    Annotated[TargetOverride, Tag("wrapped")] | Annotated[HardwareOverride, Tag("plain")], Discriminator(_hardware_form)
]


class SecretReference(Written):
    """Where a secret is, never the secret."""

    twins = (("env", "file"),)
    needs_a_key = True

    env: Given[Variable] = None
    """Environment variable that holds it."""
    file: Given[Path] = None
    """File that holds it; relative to this file."""


class Target(Written):
    """A place models are put: one installed runtime, or a folder."""

    twins = (("diskBudget", "diskBudgetGb"),)

    name: Name
    """What the target is called; unique."""
    runtime: Literal["store", "ollama", "llama-server", "advisory", "lm-studio", "vllm"] = "store"
    """store: a folder of ours; ollama, llama-server, vllm: a server; advisory, lm-studio: prints what to run."""
    endpoint: Given[Url] = None
    """URL of the server. Ollama without it: http://localhost:11434; a llama-server: …:8080; a vLLM: not asked."""
    path: Given[Path] = None
    """Folder of a store; relative to this file. Without it: in the data directory."""
    registry: Given[RegistryHost] = None
    """Registry an Ollama pulls ranked models from, instead of hf.co."""
    insecure: bool = False
    """The registry speaks plain HTTP."""
    cache: Given[Path] = None
    """Folder in which a llama-server keeps its downloads. Without it: where its variables say, such as LLAMA_CACHE."""
    preset: Given[Path] = None
    """The --models-preset file of a llama-server: apply writes context, parallel and kvCache of our models into it."""
    api_key_from: Given[SecretReference] = None
    """Where the API key of a llama-server or vLLM is, or of a proxy before it; sent to its endpoint alone."""
    max_lora_rank: Given[Annotated[int, Field(ge=1, le=512), INTEGRAL]] = None
    """The --max-lora-rank that a vLLM was started with, such as 64: plan tells which adapters are beyond it."""
    program: Given[Literal["lms", "vllm", "llama-server"]] = None
    """The program an advisory target prints commands for. Without it: llama-server."""
    hardware: Given[TargetHardware] = None
    """The machine of a target that is not on this host."""
    disk_budget: Given[PositiveSize] = None
    """Disk for this target alone, such as 500GB; a target that is not on this host must have it."""
    disk_budget_gb: Given[Gibibytes] = None
    """The same in GiB, as a plain number. One of the two at most."""


class Installer(Written):
    """One target, in short."""

    backend: Literal["ollama", "advisory"] = "ollama"
    """The kind of the only target."""
    ollama_endpoint: Given[Url] = None
    """URL of the Ollama server. Without it: http://localhost:11434."""


class Fuses(Written):
    """How much one apply may take away without a replacement."""

    max_evictions: Count = 5
    """Most models an apply may evict without a replacement."""
    max_evict_share: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Largest share of our models it may evict (0.5 is half), from 5 models on."""
    allow_empty: bool = False
    """Let a plan leave nothing."""


class Refresh(Written):
    """When the catalogue is asked again, and by how much a challenger must win."""

    twins = (("interval", "intervalMs"), ("jitter", "jitterMs"))

    interval: Given[Duration] = None
    """Time between refreshes, 1h at least. Without it: 24h."""
    interval_ms: Given[Annotated[int, Field(ge=HOUR_MS, le=10**15), INTEGRAL]] = None
    """The same in milliseconds. One of the two at most."""
    jitter: Given[Duration] = None
    """Random spread of the interval, so that machines do not ask all at once. Without it: 10m."""
    jitter_ms: Given[Count] = None
    """The same in milliseconds. One of the two at most."""
    proposal_threshold: Annotated[float, Field(ge=0)] = 5.0
    """Points by which a challenger must beat the model that fills a slot."""


class Hub(Written):
    """The Hub models come from."""

    endpoint: Given[Url] = None
    """Base URL of the Hub or a mirror. Without it: $HF_ENDPOINT, else https://huggingface.co."""
    token_from: Given[SecretReference] = None
    """Where the access token is. Without it: $HF_TOKEN, where it is set."""


class Limits(Written):
    """How hard downloads may pull."""

    download_rate: Given[PositiveSize] = None
    """Bytes a second over all downloads, such as 20MB. Without it: no limit."""
    concurrent_downloads: Annotated[int, Field(ge=1, le=32), INTEGRAL] = 4
    """Connections per download."""


class HarnessFit(Written):
    """Not supported yet: taken while it is off, so that a file that says so can be read."""

    enabled: Annotated[bool, BeforeValidator(_no_harness_fit), Field(json_schema_extra={"const": False})] = False
    """false; true is not supported yet."""
    top_n: Given[Annotated[int, Field(ge=1, le=10**15), INTEGRAL]] = None
    """Not used yet."""
    cadence_ms: Given[Annotated[int, Field(ge=1, le=10**15), INTEGRAL]] = None
    """Not used yet."""
    cache_ttl_ms: Given[Annotated[int, Field(ge=1, le=10**15), INTEGRAL]] = None
    """Not used yet."""
    task_ids: Given[list[Line]] = None
    """Not used yet."""


class Settings(Written):
    """What this machine should hold, and on what terms."""

    twins = (("targets", "installer"),)

    enabled: bool = True
    """false: observe and report, change nothing."""
    pool: Given[Pool] = None
    """The disk models may take, and whom to trust."""
    slots: Given[list[Slot]] = None
    """What models are needed for, first things first. Without it: general, coding, reasoning; []: nothing."""
    targets: Given[Annotated[list[Target], Field(min_length=1)]] = None
    """Where models go. Without it: one store in the data directory."""
    installer: Given[Installer] = None
    """One target, in short; not together with targets."""
    adapters: list[Adapter] = []
    """LoRA adapters that are served beside their base models."""
    fuses: Given[Fuses] = None
    """How much one apply may take away without a replacement."""
    approval: Literal["manual", "auto"] = "manual"
    """Whether a better-ranked model may replace the one that fills a slot: only when accepted, or by itself."""
    refresh: Given[Refresh] = None
    """When the catalogue is asked again, and by how much a challenger must win."""
    interval: Given[Duration] = None
    """Time between the drift checks of watch. Without it: 5m."""
    hub: Given[Hub] = None
    """The Hub models come from."""
    hardware: Given[Hardware] = None
    """The machine, where detection must not decide."""
    limits: Given[Limits] = None
    """How hard downloads may pull."""
    harness_fit: Given[HarnessFit] = None
    """Not supported yet; taken while it is off."""


class Block(Settings):
    """What this machine should hold, and on what terms."""

    name: Given[Name] = None
    """Whose record this is. Without it: default."""


class Plain(Written):
    """The file of a laptop or a server: one block."""

    local_models: Block
    """What this machine should hold, and on what terms."""


class Metadata(Written):
    """Who the document is."""

    name: Name
    """Whose record this is."""
    namespace: Given[Name] = None
    """Kubernetes namespace; not used here."""
    labels: dict[str, str] = {}
    """Not used here."""
    annotations: dict[str, str] = {}
    """Not used here."""


class Long(Written):
    """The same in the form of Kubernetes."""

    api_version: Literal["localmodels.dev/v1alpha1"]
    """Version of this form."""
    kind: Literal["LocalModels"]
    """Kind of the document."""
    metadata: Metadata
    """Who the document is."""
    spec: Settings
    """What this machine should hold, and on what terms."""


Document = Plain | Long


def form_of(root: dict[str, Any]) -> type[Plain | Long]:
    """Which of the two forms a person meant, by the keys that only one of them has."""
    return Long if root.keys() & {"apiVersion", "kind", "metadata", "spec"} and "localModels" not in root else Plain
