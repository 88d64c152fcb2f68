"""How tools are called on a route: rows of facts, each with its source and date, and what is known of one route."""

from __future__ import annotations

from datetime import date
from typing import Literal

from reconciler.domain.document import Frozen
from reconciler.domain.names import glob_matches
from reconciler.lora.dialect import Dialect


class Sourced(Frozen):
    """A row of facts."""

    source: str
    """Where the facts were read: a URL, or the file of a repository with its commit."""
    verified: date
    """When they were read."""


class ToolCalls(Frozen):
    """How tools are called. None: nobody says."""

    native_tools: bool | None = None
    preferred_tool_format: Literal["native", "text", "json"] | None = None
    text_tool_wire_format_supported: bool | None = None
    structured_output_mode: str | None = None
    recommended_endpoint: str | None = None
    tool_mode_parity: str | None = None
    """interchangeable · native_unreliable · text_unreliable · native_only · text_only · unknown."""
    tool_call_parser: str | None = None
    """What the server must be started with to hand tool calls out natively."""


class Capabilities(ToolCalls):
    """What is known of the tool calls of one route."""

    source: str | None = None


class CapabilityRow(Sourced, ToolCalls):
    """How tool calls work for some models at some providers; the first row that means a route counts."""

    provider: str
    """An id, or ``*``."""
    models: tuple[str, ...]
    """Anchored globs over the base's id and the last part of it; any case."""
    dialects: tuple[str, ...] = ("localmodels", "harn")

    def means(self, provider: str, base: str, dialect: Dialect) -> bool:
        if dialect.name not in self.dialects or self.provider not in ("*", provider):
            return False
        names = (base, base.rpartition("/")[2])
        return any(_matches(pattern, name) for pattern in self.models for name in names)


def _matches(pattern: str, name: str) -> bool:
    return pattern.casefold() == name.casefold() if "*" not in pattern else glob_matches(pattern, name)
