from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.errors import OutsideError
from reconciler.integrations.http import Http, MockTransport, Response
from reconciler.integrations.runtimes.ollama_api import OllamaApi, PullLine, _pull_line
from reconciler.integrations.runtimes.server import Server
from tests.doubles.ollama_rig import QuickClock

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["models", "name", "size", "digest", "details", "modified_at", "modelfile", "version", "error"]
            ),
            inner,
        )
    ),
    max_leaves=10,
)


def asked(body: bytes, question):
    """The answer to one question put to a server that always says ``body``."""

    async def ask():
        http = Http(clock=QuickClock(), transport=MockTransport(lambda _: Response(200, content=body)))
        try:
            return await question(OllamaApi(Server("http://double/", http=lambda: http)))
        finally:
            await http.close()

    return asyncio.run(ask())


@settings(max_examples=80, deadline=None)
@given(json_values, st.sampled_from(["version", "tags", "loaded", "show"]))
def test_any_json_is_a_whole_answer_or_one_of_our_errors(document, call):
    body = json.dumps(document).encode()
    code = "bad-answer"
    try:
        asked(body, lambda api: api.show("m") if call == "show" else getattr(api, call)())
    except OutsideError as error:
        code = error.code
    assert code == "bad-answer"


@pytest.mark.parametrize("body", [b"", b"\xff\xfe", b"[" * 100_000, b'{"models": [' * 5000])
def test_what_is_no_json_is_a_bad_answer(body):
    with pytest.raises(OutsideError) as raised:
        asked(body, lambda api: api.tags())
    assert raised.value.code == "bad-answer"


@given(st.binary(max_size=120))
def test_any_line_of_a_pull_is_read_or_told_as_malformed(line):
    read = _pull_line(line)
    assert isinstance(read, PullLine)
    assert read.completed >= 0


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (b'{"error":"no"}', "no"),
        (b'{"error":{"code":5}}', '{"code": 5}'),
        (b'{"error":""}', ""),
        (b'{"error":null}', ""),
    ],
)
def test_an_error_of_any_shape_is_an_error(line, error):
    assert _pull_line(line).error == error


def test_show_tells_blobs_of_every_from_and_adapter_line_and_the_context():
    one, two, three = ("a" * 64, "b" * 64, "c" * 64)
    document = {
        "modelfile": f"# FROM tiny\nFROM /m/blobs/sha256-{one}\nFROM /m/blobs/sha256-{two}\n"
        f"ADAPTER C:\\m\\blobs\\sha256-{three}\nTEMPLATE x\n",
        "parameters": "stop      <x>\nnum_ctx                        32768",
    }
    shown = asked(json.dumps(document).encode(), lambda api: api.show("m"))
    assert (shown.blobs, shown.context) == (tuple(f"sha256:{digest}" for digest in (one, two, three)), 32768)
    assert shown.is_adapted


@pytest.mark.parametrize(
    ("name", "more", "remote"),
    [
        ("gpt-oss:120b-cloud", {"size": 384}, True),
        ("kimi:cloud", {"size": 400}, True),
        ("mine:v1", {"size": 384, "remote_model": "gpt-oss:120b", "remote_host": "https://ollama.com"}, True),
        ("mine:my-cloud", {"size": 5_000_000_000}, False),
        ("cloud:8b", {"size": 384}, False),
    ],
)
def test_cloud_entries_are_told_from_weights(name, more, remote):
    body = {"models": [{"name": name, "digest": "0" * 64, "modified_at": "0001-01-01T00:00:00Z", **more}]}
    (listed,) = asked(json.dumps(body).encode(), lambda api: api.tags())
    assert listed.remote is remote
    assert listed.modified_at is None


def test_times_as_go_prints_them():
    body = {
        "models": [{"name": "a:b", "digest": "0" * 64, "size": 1, "modified_at": "2026-11-20T10:11:12.123456789+01:00"}]
    }
    (listed,) = asked(json.dumps(body).encode(), lambda api: api.tags())
    assert listed.modified_at.isoformat() == "2026-11-20T10:11:12.123456+01:00"
