"""Which tool format a route gets: every row of the decision, and what holds for any input."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.errors import UsageError
from reconciler.lora.dialect import HARN, OURS, Dialect
from reconciler.lora.tool_format import TOOL_FORMATS, dataset_shape, decide_tool_format, word_of
from tests.lora.tables import route

PARITIES = (
    None, "interchangeable", "native_unreliable", "text_unreliable", "native_only", "text_only", "unknown", "unsupported",
)  # fmt: skip


def test_auto_is_messages_with_tools_here_and_the_routes_default_in_the_origin() -> None:
    ours = decide_tool_format("auto", route(preferred_tool_format="text"), OURS)
    theirs = decide_tool_format("auto", route(dialect=HARN, preferred_tool_format="text"), HARN)
    assert (ours.effective, ours.correction) == ("native", None)
    assert (theirs.effective, theirs.correction) == ("text", None)


def test_auto_is_corrected_where_its_channel_is_broken_but_not_in_the_origin() -> None:
    ours = decide_tool_format("auto", route(tool_mode_parity="text_only"), OURS)
    assert (ours.requested, ours.effective, ours.correction is None) == ("auto", "json", False)
    pinned = {"tool_mode_parity": "text_only", "preferred_tool_format": "native"}
    theirs = decide_tool_format("auto", route(dialect=HARN, **pinned), HARN)
    assert (theirs.effective, theirs.correction) == ("native", None)


@pytest.mark.parametrize(
    ("requested", "known", "effective"),
    [
        # nothing adverse is known
        ("native", {}, "native"),
        ("native", {"native_tools": False}, "native"),
        ("native", {"tool_mode_parity": "interchangeable"}, "native"),
        ("text", {"tool_mode_parity": "unknown"}, "text"),
        ("json", {"text_tool_wire_format_supported": True}, "json"),
        # a broken native channel
        ("native", {"tool_mode_parity": "native_unreliable"}, "json"),
        ("native", {"tool_mode_parity": "text_only"}, "json"),
        ("native", {"tool_mode_parity": "text_only", "preferred_tool_format": "text"}, "text"),
        ("native", {"tool_mode_parity": "text_only", "preferred_tool_format": "native"}, "json"),
        ("text", {"tool_mode_parity": "text_only"}, "text"),
        # a broken text channel
        ("text", {"tool_mode_parity": "native_only"}, "native"),
        ("json", {"tool_mode_parity": "text_unreliable"}, "native"),
        ("json", {"text_tool_wire_format_supported": False}, "native"),
        ("json", {"text_tool_wire_format_supported": False, "preferred_tool_format": "text"}, "native"),
        ("native", {"tool_mode_parity": "native_only"}, "native"),
        # both are broken: nothing is better
        ("native", {"tool_mode_parity": "native_unreliable", "text_tool_wire_format_supported": False}, "native"),
        ("text", {"tool_mode_parity": "text_only", "text_tool_wire_format_supported": False}, "text"),
        # nobody knows the format
        ("adaptive", {"tool_mode_parity": "text_only"}, "adaptive"),
    ],
)  # fmt: skip
def test_what_is_asked_for_is_corrected_only_where_it_is_known_to_be_broken(
    requested: str, known: dict[str, object], effective: str
) -> None:
    found = decide_tool_format(requested, route(**known), OURS)
    assert (found.requested, found.effective) == (requested, effective)
    assert (found.correction is not None) is (effective != requested)


def test_a_correction_names_both_formats_the_route_and_the_reason() -> None:
    found = decide_tool_format("native", route("acme/m", tool_mode_parity="native_unreliable"), OURS)
    for word in ("native", "json", "acme/m", "vllm", "native_unreliable"):
        assert word in str(found.correction)


@given(
    requested=st.one_of(st.sampled_from(TOOL_FORMATS), st.text(max_size=12)),
    native=st.sampled_from([None, True, False]),
    text=st.sampled_from([None, True, False]),
    preferred=st.sampled_from([None, "native", "text", "json"]),
    parity=st.sampled_from(PARITIES),
    dialect=st.sampled_from([OURS, HARN]),
)
def test_any_request_is_decided_and_corrected_only_when_forbidden(
    requested: str, native: bool | None, text: bool | None, preferred: str | None, parity: str | None, dialect: Dialect
) -> None:
    known = {
        "native_tools": native,
        "text_tool_wire_format_supported": text,
        "preferred_tool_format": preferred,
        "tool_mode_parity": parity,
    }
    at = route(dialect=dialect, **known)
    found = decide_tool_format(requested, at, dialect)
    broken_native = parity in ("native_unreliable", "text_only")
    broken_text = parity in ("text_unreliable", "native_only") or text is False
    broken = {"native": broken_native, "text": broken_text, "json": broken_text}
    wanted = requested if requested != "auto" else dialect.auto_tool_format or at.tool_format
    if found.correction is None:
        assert found.effective == wanted
        assert requested == "auto" or not broken.get(wanted) or (broken_native and broken_text)
    else:
        assert broken[wanted]
        assert not broken[found.effective]
        assert (found.effective == "native") is (wanted != "native")
        assert decide_tool_format(found.effective, at, dialect).correction is None


@pytest.mark.parametrize(
    ("tool_format", "name", "columns", "owner", "exporter", "source"),
    [
        ("native", "messages_with_tool_calls", ("messages", "tools"), "provider_tokenizer_runtime", "hf_trl_tool_calls_v1", "json"),
        ("json", "harn_text_tool_calls_json_fences", ("messages", "tools", "assistant_tool_text"), "harn_text_tool_parser", "harn_text_tool_calls_v1", "json"),
        ("text", "harn_text_tool_calls_heredoc", ("messages", "tools", "assistant_tool_text"), "harn_text_tool_parser", "harn_text_tool_calls_v1", "text"),
        ("other", "harn_text_tool_calls", ("messages", "tools", "assistant_tool_text"), "catalog_validated_route", "harn_text_tool_calls_v1", "auto"),
    ],
)  # fmt: skip
def test_the_data_set_of_a_format(
    tool_format: str, name: str, columns: tuple[str, ...], owner: str, exporter: str, source: str
) -> None:
    found = dataset_shape(tool_format)
    assert (found.name, found.columns, found.parser_owner, found.exporter, found.source_format) == (
        name,
        columns,
        owner,
        exporter,
        source,
    )


def test_a_word_counts_in_any_case_and_between_blanks() -> None:
    assert word_of("  NATIVE ", TOOL_FORMATS, "--tool-format") == "native"


def test_another_word_is_refused_with_the_flag_and_all_that_are_allowed() -> None:
    with pytest.raises(UsageError) as caught:
        word_of("yaml", TOOL_FORMATS, "--tool-format")
    assert "--tool-format" in caught.value.message
    assert caught.value.hint == "write one of auto, native, text, json"
