"""What lies at the place a person named as an adapter: the files that count, and those that are refused."""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.domain.units import Bytes

CONFIG = "adapter_config.json"
SAFETENSORS = "adapter_model.safetensors"
PICKLE = "adapter_model.bin"
"""A pickle runs code when it is loaded: it is never opened here."""


@dataclass(frozen=True, slots=True)
class AdapterFile:
    """A regular file of an adapter."""

    name: str
    path: str
    bytes: Bytes


@dataclass(frozen=True, slots=True)
class AdapterPlace:
    """What is there. Nothing of it was read yet."""

    path: str
    """As it was given, ``~/`` expanded, without a slash at its end."""
    exists: bool
    """False: not on this machine, and taken for a name that a runtime resolves."""
    folder: str | None = None
    """Where the files are; of a file, the folder it is in."""
    config: AdapterFile | None = None
    weights: tuple[AdapterFile, ...] = ()
    """The safetensors file first, a pickle next, then GGUF files by name; of a file that was named, only that."""
    refused: tuple[tuple[str, str], ...] = ()
    """Name and reason of what is there and may not be read: links that lead elsewhere, devices."""
    is_file: bool = False
    """One file of weights was named."""

    @property
    def holds_gguf(self) -> bool:
        """Its weights are GGUF, which needs no configuration beside it."""
        return bool(self.weights) and all(each.name.lower().endswith(".gguf") for each in self.weights)

    @property
    def config_path(self) -> str | None:
        """Where the configuration stands, or would."""
        return f"{self.folder}/{CONFIG}" if self.folder else None
