"""Which tool-call format a route gets, and what that means for a data set."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from reconciler.errors import UsageError
from reconciler.lora.capabilities import Capabilities
from reconciler.lora.dialect import Dialect
from reconciler.lora.routes import Route

Channel = Literal["native", "text"]

TOOL_FORMATS = ("auto", "native", "text", "json")
NATIVE_FORBIDDEN = frozenset({"native_unreliable", "text_only"})
TEXT_FORBIDDEN = frozenset({"text_unreliable", "native_only"})
_CHANNELS: dict[str, Channel] = {"native": "native", "text": "text", "json": "text"}
_STEERED: dict[Channel, str] = {"native": "native", "text": "json"}


@dataclass(frozen=True, slots=True)
class ToolFormatDecision:
    """The format that counts, and why it is not the one that was asked for."""

    requested: str
    effective: str
    correction: str | None = None
    """None: nothing was corrected."""


@dataclass(frozen=True, slots=True)
class DatasetShape:
    """What a data set of one effective tool format looks like."""

    name: str
    """``dataset_format`` of contracts and manifests."""
    columns: tuple[str, ...]
    parser_owner: str
    exporter: str
    source_format: str
    """What the corpus must hold to become it: ``text``, ``json``, or ``auto`` for either."""


_TEXT_COLUMNS = ("messages", "tools", "assistant_tool_text")
_SHAPES = {
    "native": DatasetShape(
        "messages_with_tool_calls",
        ("messages", "tools"),
        "provider_tokenizer_runtime",
        "hf_trl_tool_calls_v1",
        "json",
    ),
    "json": DatasetShape(
        "harn_text_tool_calls_json_fences",
        _TEXT_COLUMNS,
        "harn_text_tool_parser",
        "harn_text_tool_calls_v1",
        "json",
    ),
    "text": DatasetShape(
        "harn_text_tool_calls_heredoc",
        _TEXT_COLUMNS,
        "harn_text_tool_parser",
        "harn_text_tool_calls_v1",
        "text",
    ),
}
_OTHER = DatasetShape(
    "harn_text_tool_calls",
    _TEXT_COLUMNS,
    "catalog_validated_route",
    "harn_text_tool_calls_v1",
    "auto",
)


def dataset_shape(tool_format: str) -> DatasetShape:
    """The data set of an effective tool format; one nobody knows has a shape too.

    >>> dataset_shape("native").name
    'messages_with_tool_calls'
    """
    return _SHAPES.get(tool_format, _OTHER)


def word_of(text: str, allowed: Iterable[str], flag: str) -> str:
    """One of a few words, case and outer blanks left aside.

    Raises:
        UsageError: it is none of them; names the flag and all of them.
    """
    words = tuple(allowed)
    word = text.strip().lower()
    if word not in words:
        raise UsageError(f"{flag} is {text!r}", hint=f"write one of {', '.join(words)}")
    return word


def decide_tool_format(requested: str, route: Route, dialect: Dialect) -> ToolFormatDecision:
    """The format that a route gets when ``requested`` is asked for.

    Only what is known to be broken is corrected: ``native_tools`` that is false, or not known, forbids nothing, for a
    server may have a parser of its own. Where both channels are broken there is nothing better, and the request stands.

    Args:
        requested: ``auto``, ``native``, ``text`` or ``json``; anything else is accepted as it is.
        route: whose capabilities decide.
        dialect: what ``auto`` means: the route's default, which stands, or a format that is corrected as any other.
    """
    if requested == "auto" and dialect.auto_tool_format is None:
        return ToolFormatDecision(requested, route.tool_format)
    wanted = dialect.auto_tool_format if requested == "auto" and dialect.auto_tool_format else requested
    asked = _CHANNELS.get(wanted)
    if asked is None or not _is_forbidden(asked, route.capabilities):
        return ToolFormatDecision(requested, wanted)
    other: Channel = "text" if asked == "native" else "native"
    if _is_forbidden(other, route.capabilities):
        return ToolFormatDecision(requested, wanted)
    preferred = route.capabilities.preferred_tool_format
    effective = preferred if preferred and _CHANNELS.get(preferred) == other else _STEERED[other]
    return ToolFormatDecision(requested, effective, _why(wanted, asked, effective, route))


def _is_forbidden(channel: Channel, known: Capabilities) -> bool:
    parity = known.tool_mode_parity or "unknown"
    if channel == "native":
        return parity in NATIVE_FORBIDDEN
    return parity in TEXT_FORBIDDEN or known.text_tool_wire_format_supported is False


def _why(wanted: str, channel: Channel, effective: str, route: Route) -> str:
    parity = route.capabilities.tool_mode_parity or "unknown"
    lost = "native" if channel == "native" else "text"
    return (
        f"{wanted} was replaced by {effective}: tool calls of {route.id} at {route.provider} cannot be read back "
        f"from the {lost} channel (tool_mode_parity {parity})"
    )
