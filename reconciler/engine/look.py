"""What an observation says about one name on one target, and whether it is the content we mean."""

from __future__ import annotations

from reconciler.domain.adapter import ServedAdapter
from reconciler.domain.artifact import Artifact, HubArtifact
from reconciler.domain.names import same_stable_name
from reconciler.domain.observation import Alias, Installed, ObservedTarget, TargetObservation
from reconciler.domain.record import Record, RecordAlias, RecordEntry

SIZE_TOLERANCE = 0.01
"""A manifest and its configuration ride along with the weights; beyond one per cent it is something else."""
_BY_FILES = ("store|", "llama-server|")
"""Kinds of target whose digest is that of the files themselves."""


def find(target: ObservedTarget, name: str) -> Installed | None:
    """What stands under a name. Ollama compares names whatever their case; a file system does not."""
    exact = next((model for model in target.installed if model.name == name and not model.remote), None)
    if exact is not None or not target.key.startswith("ollama|"):
        return exact
    folded = name.casefold()
    return next((model for model in target.installed if model.name.casefold() == folded and not model.remote), None)


def find_alias(target: ObservedTarget, name: str) -> Alias | None:
    """The stable name as the target has it, whoever made it."""
    return next((alias for alias in target.aliases if same_stable_name(target.key, alias.name, name)), None)


def find_adapter(target: ObservedTarget, name: str) -> ServedAdapter | None:
    """The adapter that answers to a name, whoever attached it."""
    return next((one for one in target.adapters if one.name == name), None)


def adapter_identity(adapter: ServedAdapter | None) -> str | None:
    """What tells one attachment from another; whether it is in use does not."""
    return None if adapter is None else f"{adapter.base} {adapter.digest or adapter.path} {adapter.scale}"


def recorded_alias(record: Record, target_key: str, name: str) -> RecordAlias | None:
    """Our record of a stable name, however it is spelled."""
    ours = (alias for alias in record.aliases if alias.target_key == target_key)
    return next((alias for alias in ours if same_stable_name(target_key, alias.name, name)), None)


def same_model(target_key: str, one: str | None, other: str | None) -> bool:
    """Whether two names mean one model: a file system tells cases apart, an Ollama does not."""
    if one is None or other is None or not target_key.startswith("ollama|"):
        return one == other
    return same_stable_name(target_key, one, other)


def is_busy(target: ObservedTarget, model: Installed) -> bool:
    """In use under its own name, or under one that stands for it."""
    return model.loaded or any(
        alias.loaded and alias.model is not None and same_model(target.key, alias.model, model.name)
        for alias in target.aliases
    )


def alias_identity(alias: Alias | None) -> str | None:
    """What tells a name that stands for one thing from one that stands for another."""
    return None if alias is None else f"{alias.model} {alias.digest} {alias.context}"


def by_key(targets: tuple[TargetObservation, ...], key: str) -> TargetObservation | None:
    return next((target for target in targets if target.key == key), None)


def identity(model: Installed | None) -> str | None:
    """What tells one content under a name from another, as far as a look can; None when nothing is there."""
    if model is None:
        return None
    return model.stamp or model.digest or f"{model.bytes} bytes"


def is_recorded(entry: RecordEntry, model: Installed) -> bool:
    """What stands there is what we recorded; unknown counts as yes, because a look cannot tell more."""
    if entry.stamp is not None and model.stamp is not None and entry.stamp == model.stamp:
        return True
    if entry.digest is not None and model.digest is not None:
        return entry.digest == model.digest
    return entry.stamp is None or model.stamp is None


def holds(artifact: Artifact, model: Installed, *, target_key: str, digest: str | None = None) -> bool | None:
    """Whether an installed model is this artifact; None where a look cannot tell.

    Args:
        artifact: what was to be fetched.
        model: what stands there.
        target_key: of its target: most digests are those of the files, Ollama's that of a manifest around them.
        digest: of the content, when it was read whole.
    """
    known = digest or model.digest
    if known == artifact.digest:
        return True
    if isinstance(artifact, HubArtifact):
        if model.blobs:
            return all(f"sha256:{file.sha256}" in model.blobs for file in artifact.files)
        return False if known is not None and target_key.startswith(_BY_FILES) else None
    return None if known is None else False


def has_its_size(artifact: Artifact, model: Installed) -> bool:
    """A server that does not tell sizes has no other word than the name."""
    return not model.bytes or abs(model.bytes - artifact.bytes) <= SIZE_TOLERANCE * artifact.bytes
