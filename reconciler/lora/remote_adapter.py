"""An adapter on a Hub as far as its answers tell: files by hash, and the beginning of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from reconciler.domain.artifact import HubArtifact


@dataclass(frozen=True, slots=True)
class RemoteAdapter:
    """What is there at one commit."""

    artifact: HubArtifact
    """Configuration first, then the weights; every file with its SHA-256."""
    heads: Mapping[str, bytes] = field(hash=False)
    """By path: the whole configuration, and the headers of the weights; nothing of a pickle."""
