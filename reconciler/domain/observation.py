"""What was read of the machine, the targets and the catalogue, at one instant."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Discriminator

from reconciler.domain.adapter import AdapterFormat, AdapterVerdict, ServedAdapter
from reconciler.domain.artifact import Artifact
from reconciler.domain.catalog import CatalogModel, Catalogue
from reconciler.domain.document import Frozen
from reconciler.domain.estimate import KvCache
from reconciler.domain.hardware import Hardware, HardwareReading
from reconciler.domain.measurement import Measurement
from reconciler.domain.units import Bytes


class Serving(Frozen):
    """How a target is told to serve one model, where it can be told."""

    context: int
    """Tokens of one conversation."""
    parallel: int = 1
    """Conversations at once, each of ``context`` tokens."""
    kv_cache: KvCache = "f16"
    load: bool = False
    """It is loaded as soon as it is told so, and whenever the server starts."""


class InstalledFile(Frozen):
    """One file on disk, as far as a look can tell without reading it."""

    path: str
    """Relative to the target's directory."""
    bytes: Bytes
    stamp: str
    """Opaque; equal stamps mean the content was not touched (size, mtime in ns, inode)."""


class Installed(Frozen):
    """One model present on a target, ours or not."""

    name: str
    """Canonical on its target: ``org/repo/file.gguf`` (shard 1) in a store, ``name:tag`` on Ollama."""
    bytes: Bytes
    """What it takes on disk. Ollama counts shared blobs once per model."""
    digest: str | None = None
    """What the content is, where a look can tell: Ollama's manifest digest; a store's SHA-256 when it is known for
    this very stamp. Same form as ``Artifact.digest``."""
    stamp: str | None = None
    """Opaque; equal to the recorded one means unchanged."""
    files: tuple[InstalledFile, ...] = ()
    blobs: tuple[str, ...] = ()
    """Digests of its weight blobs (``sha256:…``), where the target tells."""
    repo: str | None = None
    """Hub repository it came from, as its name or place says."""
    quant: str | None = None
    modified_at: datetime | None = None
    last_used_at: datetime | None = None
    loaded: bool = False
    """In use now, or perhaps: never evicted now. A target that cannot tell counts what is loaded."""
    resident: bool = False
    """In memory, whether or not anybody is being answered by it; where the target tells both."""
    remote: bool = False
    """A cloud stub: no local weights, never counted, never touched."""
    model_context: int | None = None
    """Context the target will really serve it with, where it tells."""
    serving: Serving | None = None
    """What the target's settings, as they are written, say of it; None: nothing, or nobody can look."""
    serving_is_ours: bool = False
    """We may write these settings: they are ours, or there are none yet."""
    served_from: str | None = None
    """Folder that its server was started with, where it is served under names that are not its own."""
    served_as: tuple[str, ...] = ()
    """Names that its server was given for it, the first one first; empty: it goes by its own."""
    held_by: str | None = None
    """What keeps it from being removed until a person acts, and what to do, as a clause; None: nothing known does."""


class Alias(Frozen):
    """A stable name on a target that stands for one of its models, whoever made it."""

    name: str
    model: str | None = None
    """Canonical name of the model it stands for; None: of nothing that is there, or it cannot be told."""
    digest: str | None = None
    """What the target lists under the name, where it lists a content of its own."""
    context: int | None = None
    """Tokens that a request under this name gets, where the name itself carries that."""
    loaded: bool = False
    """In use under this name."""
    foreign: bool = False
    """The target shows that somebody else made it, whatever the record says."""
    taken_by: str | None = None
    """What stands under the name, where that is no stable name at all: a folder, say. It is foreign too."""

    def is_foreign_to(self, made: str | None) -> bool:
        """It is somebody else's, whatever name we recorded: by its own showing, or as far as its content tells.

        Where it stands for nothing that is there, nothing else tells a name of ours from a model of somebody's that
        was derived from one that is gone.

        Args:
            made: the digest of what we made under the name, as recorded.
        """
        unlike = self.model is None and None not in (self.digest, made) and self.digest != made
        return self.foreign or unlike


class DiskSpace(Frozen):
    """The file system a target writes to."""

    device: str
    """Two targets with one device share their free bytes."""
    total_bytes: Bytes
    free_bytes: Bytes


class PartialDownload(Frozen):
    """What has arrived of a model that is not whole."""

    name: str
    """Canonical name of the model on its target."""
    bytes: Bytes
    """That it takes on disk."""


class ObservedTarget(Frozen):
    """A target that answered, whole."""

    status: Literal["observed"] = "observed"
    name: str
    key: str
    """As ``Target.key``."""
    installed: tuple[Installed, ...] = ()
    aliases: tuple[Alias, ...] = ()
    """Stable names. A target that lists them as models too (Ollama) has them in ``installed`` as well."""
    adapters: tuple[ServedAdapter, ...] = ()
    """LoRA adapters it serves."""
    takes_adapters: AdapterFormat | None = None
    """The form in which it can be given adapters as it is set up now; None: not at all, or it cannot be told."""
    why_no_adapters: str | None = None
    """What stands in the way of giving it any, where a person can mend that."""
    detaches_adapters: bool = False
    """It lets go of adapters that it serves, even where it is given none."""
    max_adapter_rank: int | None = None
    """The largest rank it takes as it was started, where it tells."""
    disk: DiskSpace | None = None
    """None: the target does not tell (a remote server)."""
    partial_bytes: Bytes = Bytes(0)
    """Unfinished downloads of ours, kept for resuming."""
    partial_names: tuple[str, ...] = ()
    partials: tuple[PartialDownload, ...] = ()
    """The same by name, where the target tells how much each takes."""
    orphan_bytes: Bytes = Bytes(0)
    """Of whole files that no model there refers to; never removed under a live server."""
    version: str | None = None
    served_context: int | None = None
    """Tokens the server gives every model unless told otherwise; None: not known."""
    hardware: Hardware | None = None
    """Of a remote target, as its override says."""
    notes: tuple[str, ...] = ()


class UnknownTarget(Frozen):
    """A target that did not answer, answered nonsense or answered half: unknown, not empty."""

    status: Literal["unknown"] = "unknown"
    name: str
    key: str
    reason: str
    """One sentence for a person."""
    code: str = "unreachable"
    hint: str | None = None

    @property
    def in_words(self) -> str:
        """Why it is unknown, and what to do about it."""
        return f"{self.reason} ({self.hint})" if self.hint else self.reason


TargetObservation = Annotated[ObservedTarget | UnknownTarget, Discriminator("status")]


class HubNeed(Frozen):
    """Which commit, files, sizes and digests stand behind one quant of one Hub repository."""

    kind: Literal["hub"] = "hub"
    repo: str
    quant: str | None = None
    """None: the repository's only build, or the best that is there."""
    revision: str | None = None


class RegistryNeed(Frozen):
    """Which manifest stands behind a registry name."""

    kind: Literal["registry"] = "registry"
    name: str
    """``[host/][namespace/]model[:tag]``."""
    registry: str | None = None
    insecure: bool = False


class DigestNeed(Frozen):
    """What the content of an installed model is: only reading it whole can tell."""

    kind: Literal["digest"] = "digest"
    target: str
    name: str


class AdapterNeed(Frozen):
    """What a declared adapter is, and whether it belongs to the model that is picked for its base."""

    kind: Literal["adapter"] = "adapter"
    adapter: str
    """Its name in the file."""
    target: str
    base_id: str
    """Catalogue id of the base."""
    base_name: str
    """Canonical name of the base on the target; it need not be installed yet."""


Need = Annotated[HubNeed | RegistryNeed | DigestNeed | AdapterNeed, Discriminator("kind")]


class Resolved(Frozen):
    """The answer to a need."""

    status: Literal["resolved"] = "resolved"
    need: Need
    artifact: Artifact | None = None
    """For hub and registry needs."""
    digest: str | None = None
    """For digest needs."""
    stamp: str | None = None
    """For digest needs: the stamp the digest holds for."""
    gated: bool = False
    """The files need a licence accepted and a token; metadata answered all the same."""
    model: CatalogModel | None = None
    """What the source says of the model: base model, licence, dimensions, capabilities read from the file's header."""
    claimed_base: str | None = None
    """The Hub's ``base_model``, as the packager claims it."""
    adapter: AdapterVerdict | None = None
    """For adapter needs."""
    notes: tuple[str, ...] = ()


class Unavailable(Frozen):
    """A need that cannot be answered now, or ever."""

    status: Literal["unavailable"] = "unavailable"
    need: Need
    code: Literal[
        "not-found", "unauthorised", "gated", "unreachable", "offline", "not-installable", "corrupt", "not-readable"
    ]
    """``not-readable``: it is there, or may be, and nobody can read it now."""
    message: str
    hint: str | None = None
    """What a person can do."""
    held: AdapterVerdict | None = None
    """For adapter needs: what the copy is that we hold of what was attached, where that may stand in for the source."""


Answer = Annotated[Resolved | Unavailable, Discriminator("status")]


class Observation(Frozen):
    """Everything a plan is made from, besides the desired state, the record and the lockfile."""

    now: datetime
    """UTC. Ranking uses its date only."""
    hardware: HardwareReading
    targets: tuple[TargetObservation, ...]
    catalogue: Catalogue
    answers: tuple[Answer, ...] = ()
    measurements: tuple[Measurement, ...] = ()
    """Of this machine, by ``localmodels measure``."""
    adapter_partials: tuple[PartialDownload, ...] = ()
    """What has arrived of adapters that are not whole yet, in our own store of this host, by the digest of each."""
    adapter_disk: DiskSpace | None = None
    """The file system of that store; None: not told."""
    offline: bool = False
    """Needs could not be asked: what is not known stays ``resolved: false``."""
    warnings: tuple[str, ...] = ()

    def target(self, name: str) -> ObservedTarget | UnknownTarget | None:
        return next((target for target in self.targets if target.name == name), None)

    def answer(self, need: HubNeed | RegistryNeed | DigestNeed | AdapterNeed) -> Resolved | Unavailable | None:
        return next((answer for answer in self.answers if answer.need == need), None)
