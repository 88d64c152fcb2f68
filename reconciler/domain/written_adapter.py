"""The ``adapters`` of the desired state file, exactly as a person may write them.

As in ``domain.desired_document``, the string under a field is what an editor shows for its key.
"""

# ruff: noqa: RUF012 - pydantic copies a default for each value

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from reconciler.domain.adapter import Outtype
from reconciler.domain.desired_scalars import (
    INTEGRAL,
    AliasName,
    Digest,
    Duration,
    Given,
    Line,
    Name,
    Path,
    PinnedRevision,
    RepositoryName,
    Word,
)
from reconciler.domain.written import Written

Ranks = Annotated[int, Field(ge=1, le=65_536), INTEGRAL]


class HubSource(Written):
    """An adapter on the Hub, pinned."""

    repo: RepositoryName
    """Its repository, such as org/sql-tools; the organisation must be in pool.allowedOrgs."""
    revision: PinnedRevision
    """Commit or tag; a branch such as main moves, and is refused."""


class AdapterSource(Written):
    """Where an adapter's files are."""

    twins = (("path", "hub"),)
    needs_a_key = True

    path: Given[Path] = None
    """A PEFT folder, or a GGUF file; relative to this file. One of the two at most."""
    hub: Given[HubSource] = None
    """A repository of the Hub. One of the two at most."""


class LargestRank(Written):
    """The largest rank that will do."""

    max: Ranks
    """The largest rank that will do."""


def _rank_form(value: object) -> str:
    return "most" if isinstance(value, dict | LargestRank) else "exact"


ExpectedRank = Annotated[
    Annotated[Ranks, Tag("exact")] | Annotated[LargestRank, Tag("most")], Discriminator(_rank_form)
]


class Expected(Written):
    """What an adapter must turn out to be; what is left out is not asked."""

    needs_a_key = True

    rank: Given[ExpectedRank] = None
    """Its rank: 16, or {max: 64}."""
    alpha: Given[Annotated[float, Field(gt=0, le=1_000_000)]] = None
    """Its lora_alpha."""
    target_modules: Given[Annotated[list[Word], Field(min_length=1)]] = None
    """The modules it changes, such as q_proj, in any order."""
    peft_type: Given[Word] = None
    """Its kind, such as LORA."""
    dtype: Given[Word] = None
    """Element type of its weights, such as bf16."""
    sha256: Given[Annotated[dict[str, Digest], Field(min_length=1)]] = None
    """SHA-256 of its files, by their names."""


class ChatTemplate(Written):
    """The template it was trained with."""

    sha256: Digest
    """SHA-256 of the template's text."""


class Contract(Written):
    """The training contract an adapter must belong to."""

    needs_a_key = True

    manifest: Given[Path] = None
    """Its manifest, as lora export writes it; relative to this file."""
    id: Given[Line] = None
    """The contract's id. Without it: what the manifest says."""
    require_in_adapter: bool = False
    """The adapter's own files must carry the id."""
    tool_format: Given[Word] = None
    """How it was trained to call tools, such as native."""
    chat_template: Given[ChatTemplate] = None
    """The template it was trained with."""


class Gate(Written):
    """What must be shown before an adapter is served under its name."""

    receipt: Path
    """The promotion receipt; relative to this file."""
    max_age: Given[Duration] = None
    """How old the receipt may be, such as 30d. Without it: any age."""
    minimum_trials: Given[Annotated[int, Field(ge=1, le=10**9), INTEGRAL]] = None
    """The least trials the receipt must tell of."""
    on_missing: Literal["block", "warn", "serve-as-candidate"] = "block"
    """Until it is shown: do not attach it, attach it with a warning, or serve it as NAME-candidate."""


class AdapterServing(Written):
    """One target that serves an adapter."""

    target: Name
    """The target: a llama-server, a vLLM or an Ollama."""
    as_name: Annotated[Given[AliasName], Field(alias="as")] = None
    """What requests call it there. Without it: the adapter's name."""
    scale: Annotated[float, Field(ge=0, le=100)] = 1.0
    """How strongly it is applied; other than 1 on a llama-server only."""


class Conversion(Written):
    """How PEFT weights become the GGUF that a llama-server takes."""

    outtype: Outtype = "f16"
    """Element type of the GGUF."""


class Adapter(Written):
    """A LoRA adapter that is served beside its base model."""

    needed_unless = ("absent", ("base", "source"))

    name: AliasName
    """What the adapter is called; unique."""
    base: Given[Word] = None
    """The slot whose model it is for, or a model as a pin names it. Required, unless it is absent."""
    source: Given[AdapterSource] = None
    """Where its files are. Required, unless it is absent."""
    expect: Given[Expected] = None
    """What it must turn out to be."""
    contract: Given[Contract] = None
    """The training contract it must belong to."""
    gate: Given[Gate] = None
    """What must be shown before it is served under its name."""
    serve: list[AdapterServing] = []
    """The targets that serve it; one at least, unless it is absent."""
    convert: Given[Conversion] = None
    """How it is converted where a target takes GGUF and its source is PEFT."""
    on_base_change: Literal["hold", "drop", "follow"] = "hold"
    """When another model would fill its slot: keep both as they are, detach it, or let it follow where it fits."""
    on_mismatch: Literal["fail", "warn"] = "fail"
    """When it is not what expect and contract say: do not attach it, or attach it with a warning."""
    absent: bool = False
    """Detach it wherever we attached it; its name is enough then."""
    allow_pickle: bool = False
    """Pickled weights (.bin) may be fetched; they are never loaded."""
