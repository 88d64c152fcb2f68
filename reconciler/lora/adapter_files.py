"""What lies at the place a person named as an adapter: the files that count, and those that are refused."""

from __future__ import annotations

import re
from dataclasses import dataclass

from reconciler.domain.units import Bytes

CONFIG = "adapter_config.json"
SAFETENSORS = "adapter_model.safetensors"
MLX = "adapters.safetensors"
"""What mlx_lm trains. Source: mlx-lm ``mlx_lm/tuner/trainer.py``."""
INDEX = "adapter_model.safetensors.index.json"
"""Which of several files holds which tensor. Source: huggingface_hub ``serialization`` for the names."""
_SHARD = re.compile(r"adapter_model-(\d{5})-of-(\d{5})\.safetensors")
SHARDS_AT_MOST = 64
PICKLE = "adapter_model.bin"
"""A pickle runs code when it is loaded: its bytes are hashed, and it is never loaded here."""


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
    """The safetensors file or its shards first, MLX's own, a pickle next, then GGUF files by name; of a file that was
    named, only that."""
    index: AdapterFile | None = None
    """Beside weights in several files."""
    refused: tuple[tuple[str, str], ...] = ()
    """Name and reason of what is there and may not be read: links that lead elsewhere, devices."""
    is_file: bool = False
    """One file of weights was named."""

    @property
    def holds_gguf(self) -> bool:
        """Its weights are GGUF, which needs no configuration beside it."""
        return bool(self.weights) and all(each.name.lower().endswith(".gguf") for each in self.weights)

    @property
    def is_plain_path(self) -> bool:
        """Written as a place of this machine, and as no runtime's name of an adapter can be."""
        return self.path in (".", "..", "~") or self.path.startswith(("/", "./", "../", "~/"))

    @property
    def config_path(self) -> str | None:
        """Where the configuration stands, or would."""
        return f"{self.folder}/{CONFIG}" if self.folder else None

    @property
    def shards(self) -> tuple[AdapterFile, ...]:
        """The files that hold its weights together, in their order; empty: one file does."""
        return tuple(sorted((each for each in self.weights if is_shard(each.name)), key=lambda each: each.name))


def is_shard(name: str) -> bool:
    """Whether a file is one of several that hold an adapter's weights together.

    >>> is_shard("adapter_model-00001-of-00002.safetensors"), is_shard("adapter_model.safetensors")
    (True, False)
    """
    return _SHARD.fullmatch(name) is not None


def missing_shards(names: tuple[str, ...]) -> tuple[str, ...]:
    """Shards that the names of the others promise; those of another number of files are named too."""
    found = [match for name in names if (match := _SHARD.fullmatch(name))]
    totals = sorted({int(match[2]) for match in found})
    if len(totals) != 1 or not 0 < totals[0] <= SHARDS_AT_MOST:
        return tuple(names)
    wanted = (f"adapter_model-{each:05d}-of-{totals[0]:05d}.safetensors" for each in range(1, totals[0] + 1))
    return tuple(name for name in wanted if name not in names)
