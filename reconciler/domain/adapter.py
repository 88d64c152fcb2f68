"""LoRA adapters: as the file declares them, as they are found, and as a target serves them."""

from __future__ import annotations

import hashlib
import re
from datetime import datetime
from math import isclose
from typing import Literal

from reconciler.domain.artifact import HubArtifact
from reconciler.domain.document import Frozen
from reconciler.domain.finding import Finding
from reconciler.domain.units import Bytes

AdapterFormat = Literal["peft", "gguf"]
Outtype = Literal["f32", "f16", "bf16", "q8_0", "auto"]
ADDRESS = "adapter/"
"""What the address of an adapter begins with, in plans and where one is asked for."""
ADAPTER_STORE = "adapters"
"""Folder of an adapter store. In it a folder for each content, named by its digest, holds it and what is made of it."""
_IN_A_STORE = re.compile(rf"/{ADAPTER_STORE}/([0-9a-f]{{64}})(?:/|$)")
_MADE = re.compile(r"/made/([0-9a-f]+-(f32|f16|bf16|q8_0|auto))/")


def made_key(maker: str, outtype: Outtype) -> str:
    """What a GGUF made of an adapter is kept under.

    Args:
        maker: identity of what made it, in hexadecimal digits.
        outtype: its element type.
    """
    return f"{maker}-{outtype}"


def address_of(name: str) -> str:
    """What the adapter of this name is called in a plan."""
    return f"{ADDRESS}{name}"


def digest_of_place(path: str) -> str | None:
    """The digest of the content at a path, by its folder in an adapter store; None where it lies elsewhere.

    >>> digest_of_place("/data/adapters/" + "a" * 64 + "/sql") == "a" * 64
    True
    >>> digest_of_place("/data/adapters/sql") is None
    True
    """
    found = _IN_A_STORE.search(path)
    return found[1] if found is not None else None


def is_place_of(path: str | None, digest: str) -> bool:
    """Whether a path names this content, wherever the store it lies in stands for who tells the path.

    >>> is_place_of("/mnt/" + "a" * 64 + "/sql", "a" * 64), is_place_of(None, "a" * 64)
    (True, False)
    """
    return path is not None and digest in path


def outtype_of_place(path: str) -> str | None:
    """The element type that a GGUF of our store was asked to be made with; None: it was not made of another form.

    >>> outtype_of_place("/adapters/00ff/made/" + made_key("ab12", "q8_0") + "/adapter.gguf")
    'q8_0'
    >>> outtype_of_place("/adapters/00ff/files/adapter.gguf") is None
    True
    """
    found = _MADE.search(path)
    return found[2] if found is not None else None


def outtype_of_key(key: str) -> str:
    """The element type of what is kept under a key.

    >>> outtype_of_key(made_key("ab12", "q8_0"))
    'q8_0'
    """
    return key.rpartition("-")[2]


def made_key_of_place(path: str) -> str | None:
    """What a GGUF of an adapter store was made under; None: it was not made of another form.

    >>> made_key_of_place("/adapters/00ff/made/" + made_key("ab12", "f16") + "/adapter.gguf")
    'ab12-f16'
    """
    found = _MADE.search(path)
    return found[1] if found is not None else None


def is_same_scale(one: float, other: float) -> bool:
    """Whether two scales are one: servers keep 32 bits of what they are told, which is 7 digits.

    >>> is_same_scale(0.1, 0.10000000149), is_same_scale(0.1, 0.1001), is_same_scale(0.0, 0.00005)
    (True, False, False)
    """
    return isclose(one, other, rel_tol=1e-5, abs_tol=1e-9)


class AdapterSource(Frozen):
    """Where the adapter's files come from: a path of this host, or a repository of the Hub."""

    path: str | None = None
    """Absolute: a PEFT directory, or a GGUF file."""
    repo: str | None = None
    """``organisation/name``; its organisation must be allowed."""
    revision: str | None = None
    """Commit or tag; what it means is pinned by commit when it is resolved."""


class Expected(Frozen):
    """What the adapter must turn out to be; None is not asked."""

    rank: int | None = None
    max_rank: int | None = None
    alpha: float | None = None
    target_modules: tuple[str, ...] | None = None
    peft_type: str | None = None
    dtype: str | None = None
    sha256: tuple[tuple[str, str], ...] = ()
    """(file name, hex digest) pairs, sorted."""


class ExpectedContract(Frozen):
    """The training contract that the adapter must belong to."""

    manifest: str | None = None
    """Absolute path of its manifest."""
    id: str | None = None
    require_in_adapter: bool = False
    tool_format: str | None = None
    chat_template_sha256: str | None = None


class Gate(Frozen):
    """Promotion: what must be shown before the adapter is served under its name."""

    receipt: str
    """Absolute path of the promotion receipt."""
    max_age_seconds: float | None = None
    minimum_trials: int | None = None
    on_missing: Literal["block", "warn", "serve-as-candidate"] = "block"


class AdapterServing(Frozen):
    """One target that serves the adapter."""

    target: str
    name: str
    """Request-model name there, where the runtime gives an adapter one."""
    scale: float = 1.0


CANDIDATE_SUFFIX = "-candidate"
"""Ends the name an adapter is served under while its gate is not met, where ``onMissing`` lets it be tried."""


class Adapter(Frozen):
    """One entry of ``adapters``. Its address is ``adapter/NAME``."""

    name: str
    base: str = ""
    """Name of a slot, or of a model as a pin names it; empty: it is absent, and nobody said."""
    source: AdapterSource = AdapterSource()
    """Nothing where it is absent, and nobody said."""
    expect: Expected = Expected()
    contract: ExpectedContract | None = None
    gate: Gate | None = None
    serve: tuple[AdapterServing, ...] = ()
    convert: Outtype = "f16"
    """Element type of the GGUF that PEFT weights are converted to, where a target needs GGUF."""
    on_base_change: Literal["hold", "drop", "follow"] = "hold"
    """When the base's slot is filled by another model: keep the old attachment, detach it, or attach to the new one."""
    on_mismatch: Literal["fail", "warn"] = "fail"
    absent: bool = False
    """It is to be detached wherever we attached it."""
    allow_pickle: bool = False
    """Pickled weights (``.bin``) may be fetched; they are never loaded."""
    line: int | None = None

    @property
    def terms(self) -> str:
        """Hex SHA-256 of everything that the file asks of its content: what met these terms once met all of them."""
        asked = {"expect", "contract", "gate", "on_mismatch", "allow_pickle"}
        return hashlib.sha256(self.model_dump_json(include=asked).encode()).hexdigest()


class AdapterVerdict(Frozen):
    """What an adapter's source is now, and whether it belongs to one base on one target."""

    digest: str
    """Hex SHA-256 over the sorted (file name, SHA-256) pairs: what its content is."""
    format: AdapterFormat
    bytes: Bytes
    """Of its files as they will be held in the form its target takes, a conversion included."""
    rank: int | None = None
    """The highest."""
    contract_id: str | None = None
    artifact: HubArtifact | None = None
    """What to fetch; None for a path of this host."""
    findings: tuple[Finding, ...] = ()
    """An ``error`` keeps it from being attached (a ``warning`` under ``onMismatch: warn``)."""
    unpromoted: tuple[Finding, ...] = ()
    """What its promotion gate misses, whatever ``onMissing`` makes of it; empty: it is met, or there is none."""
    is_held_copy: bool = False
    """It is about the copy that we hold of recorded content, for the source cannot be read now."""
    moved_to: str | None = None
    """Commit that its tag means now, where it is about what the tag meant when it was attached."""

    @property
    def errors(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.severity == "error")

    @property
    def fits(self) -> bool:
        return not self.errors


class ServedAdapter(Frozen):
    """One adapter that a target serves, whoever attached it."""

    name: str
    """Request-model name, or the file's stem where the runtime gives adapters no name."""
    base: str | None = None
    """Canonical name of the installed model it is attached to; None: it cannot be told."""
    path: str | None = None
    """Where the target says it read it."""
    scale: float | None = None
    """In force now, where the target tells."""
    digest: str | None = None
    """As ``AdapterVerdict.digest``, where its place in our adapter store tells."""
    loaded: bool = False
    """In use now, or its base is."""
    damaged: bool = False
    """Our copy that it is told to read is not what it was: what it serves, or would serve, is something else."""
    foreign: bool = False
    """The target shows that somebody else made it, and would change nothing of it for us."""

    amiss: str | None = None
    """What its settings say and its server does not do, in words; of ours only. None: nothing, or it cannot be told."""

    def holds(self, digest: str) -> bool:
        """What is served is this content: as the target tells, or as the place it was read from does."""
        return self.digest == digest if self.digest is not None else is_place_of(self.path, digest)

    def is_foreign_to(self, ours: RecordAdapter) -> bool:
        """Surely not what we attached: other weights, and nothing of it lies where ours does."""
        tells_nothing = self.digest is None and self.path is None
        return not tells_nothing and not self.holds(ours.digest) and self.path != ours.path


class HeldAdapter(Frozen):
    """An adapter whose files stand on this host, verified, in the form one target takes."""

    name: str
    """Request-model name on the target."""
    base: str
    """Canonical name of the installed base on the target."""
    path: str
    """Absolute: a PEFT directory or a GGUF file, named by its content."""
    digest: str
    format: AdapterFormat
    rank: int | None = None
    scale: float = 1.0


class RecordAdapter(Frozen):
    """An adapter that we attached on a target and therefore may change and detach."""

    target_key: str
    target_name: str
    adapter: str
    """Its name in the file."""
    name: str
    """Request-model name on the target."""
    base: str
    declared_base: str = ""
    """What the file named as its base then: a slot, or a model. Another now means that a person moved it."""
    digest: str
    scale: float = 1.0
    path: str
    bytes: Bytes
    attached_at: datetime
    source: AdapterSource | None = None
    """Where the file had it from; None: nobody wrote it down."""
    terms: str = ""
    """``Adapter.terms`` that its content has met here; empty: nobody wrote it down."""
