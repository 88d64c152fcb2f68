"""The record: what we installed and therefore own, and what we were about to do."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from reconciler.domain.adapter import RecordAdapter
from reconciler.domain.artifact import Artifact
from reconciler.domain.document import Frozen
from reconciler.domain.units import Bytes


class RecordEntry(Frozen):
    """One model we own on one target."""

    target_key: str
    """As ``Target.key``: runtime and normalised endpoint or directory."""
    target_name: str
    name: str
    """Canonical name on the target."""
    slots: tuple[str, ...] = ()
    """Addresses it filled when last applied."""
    model_id: str
    quant: str | None = None
    artifact: Artifact | None = None
    """What was fetched; None for an adopted model."""
    revision: str | None = None
    """The revision the file asked for when it was fetched; None: whatever the source offered then."""
    digest: str | None = None
    """What the target listed once it was installed: drift is judged on this."""
    stamp: str | None = None
    bytes: Bytes
    installed_at: datetime
    last_used_at: datetime | None = None
    score: float = 0.0
    adopted: bool = False


class RecordAlias(Frozen):
    """A stable name that we made on a target and therefore may move and remove."""

    target_key: str
    target_name: str
    name: str
    model: str
    """Canonical name of the model it stood for when we last moved it."""
    digest: str | None = None
    """What the target then listed under the name, where it lists a content of its own."""
    context: int | None = None
    made_at: datetime


class Intent(Frozen):
    """A step that was begun and whose outcome is not yet known: what we are fetching is ours."""

    id: str
    action: Literal["install", "update", "evict", "name", "unname", "attach", "detach"]
    target_key: str
    target_name: str
    name: str
    """Of the model; of the alias where the step makes, moves (``name``) or removes (``unname``) one."""
    alias: RecordAlias | None = None
    """What the record will hold when a ``name`` step succeeds."""
    adapter: RecordAdapter | None = None
    """What the record will hold when an ``attach`` step succeeds; what it holds until a ``detach`` does."""
    entry: RecordEntry | None = None
    """What the record will hold when the step succeeds (install, update)."""
    existed: bool = False
    """The name was present and not ours before the step: never clean it up."""
    begun_at: datetime


class Record(Frozen):
    """Whose record this is and what it owns. Every change makes a new one with the next generation."""

    format_version: Literal[1] = 1
    name: str
    """The document's name."""
    source: str = ""
    """The file or repository it was applied from; another file of the same name is refused."""
    generation: int = 0
    entries: tuple[RecordEntry, ...] = ()
    aliases: tuple[RecordAlias, ...] = ()
    adapters: tuple[RecordAdapter, ...] = ()
    intents: tuple[Intent, ...] = ()
    """Open at the moment of saving; the next run finishes or undoes them."""
    applied_digest: str | None = None
    """Digest of the desired state last applied to the end."""
    last_refresh_at: datetime | None = None

    def entry(self, target_key: str, name: str) -> RecordEntry | None:
        return next((entry for entry in self.entries if entry.target_key == target_key and entry.name == name), None)

    def with_entry(self, entry: RecordEntry) -> Record:
        base = self.without(entry.target_key, entry.name)
        ordered = sorted((*base.entries, entry), key=lambda e: (e.target_key, e.name))
        return base.model_copy(update={"entries": tuple(ordered)})

    def without(self, target_key: str, name: str) -> Record:
        kept = tuple(e for e in self.entries if (e.target_key, e.name) != (target_key, name))
        return self.model_copy(update={"entries": kept, "generation": self.generation + 1})

    def alias(self, target_key: str, name: str) -> RecordAlias | None:
        return next((alias for alias in self.aliases if (alias.target_key, alias.name) == (target_key, name)), None)

    def with_alias(self, alias: RecordAlias) -> Record:
        base = self.without_alias(alias.target_key, alias.name)
        ordered = sorted((*base.aliases, alias), key=lambda one: (one.target_key, one.name))
        return base.model_copy(update={"aliases": tuple(ordered)})

    def without_alias(self, target_key: str, name: str) -> Record:
        kept = tuple(alias for alias in self.aliases if (alias.target_key, alias.name) != (target_key, name))
        return self.model_copy(update={"aliases": kept, "generation": self.generation + 1})

    def adapter(self, target_key: str, name: str) -> RecordAdapter | None:
        return next((one for one in self.adapters if (one.target_key, one.name) == (target_key, name)), None)

    def with_adapter(self, adapter: RecordAdapter) -> Record:
        base = self.without_adapter(adapter.target_key, adapter.name)
        ordered = sorted((*base.adapters, adapter), key=lambda one: (one.target_key, one.name))
        return base.model_copy(update={"adapters": tuple(ordered)})

    def without_adapter(self, target_key: str, name: str) -> Record:
        kept = tuple(one for one in self.adapters if (one.target_key, one.name) != (target_key, name))
        return self.model_copy(update={"adapters": kept, "generation": self.generation + 1})

    def with_intent(self, intent: Intent) -> Record:
        return self.model_copy(update={"intents": (*self.intents, intent), "generation": self.generation + 1})

    def without_intent(self, intent_id: str) -> Record:
        left = tuple(intent for intent in self.intents if intent.id != intent_id)
        return self.model_copy(update={"intents": left, "generation": self.generation + 1})
