from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.errors import Corrupt, OutsideError
from reconciler.integrations.http import ByteStream, Http, MockTransport, Response
from reconciler.integrations.runtimes.llama_server_api import Event, LlamaServerApi
from reconciler.integrations.runtimes.server import Server
from tests.doubles.ollama_rig import QuickClock

KEYS = [
    "data",
    "id",
    "status",
    "value",
    "preset",
    "source",
    "meta",
    "size",
    "role",
    "build_info",
    "is_processing",
    "error",
]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8) | st.just("loaded"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner),
    max_leaves=10,
)


def asked(question, *, body: bytes = b"", stream: bool = False):
    """The answer to one question put to a server that always says ``body``."""

    def answer(_):
        return Response(200, stream=ByteStream(body)) if stream else Response(200, content=body)

    async def ask():
        http = Http(clock=QuickClock(), transport=MockTransport(answer))
        try:
            return await question(LlamaServerApi(Server("http://router/", http=lambda: http)))
        finally:
            await http.close()

    return asyncio.run(ask())


@settings(max_examples=80, deadline=None)
@given(json_values, st.sampled_from(["version", "models", "slots"]))
def test_any_json_is_a_whole_answer_or_one_of_our_errors(document, call):
    questions = {
        "version": lambda api: api.version(),
        "models": lambda api: api.models(),
        "slots": lambda api: api.busy_slots("a/b:Q8_0"),
    }
    code = "bad-answer"
    try:
        asked(questions[call], body=json.dumps(document).encode())
    except OutsideError as error:
        code = error.code
    assert code in ("bad-answer", "no-api")


@pytest.mark.parametrize("body", [b"", b"\xff", b"[" * 100_000, b'{"data": [' * 5000])
def test_what_is_no_json_is_a_bad_answer(body):
    with pytest.raises(Corrupt) as raised:
        asked(lambda api: api.models(), body=body)
    assert raised.value.code == "bad-answer"


async def events(api) -> list[Event]:
    return [event async for event in api.events(idle_timeout_seconds=5)]


@settings(max_examples=60, deadline=None)
@given(st.lists(json_values.map(lambda value: b"data: " + json.dumps(value).encode()) | st.binary(max_size=30)))
def test_any_stream_is_events_or_nothing(lines):
    first, *others = asked(events, body=b"\n".join(lines) + b"\n", stream=True)
    assert first.kind == "listening"
    assert all(isinstance(event, Event) for event in others)


def test_a_line_without_an_end_is_given_up():
    with pytest.raises(Corrupt):
        asked(events, body=b"data: " + b"x" * (2 << 20), stream=True)


def test_progress_names_repository_commit_and_file():
    state = {"http://hub/base/acme/a-GGUF/resolve/c1/Q8%200/x-Q8_0.gguf": {"done": 1, "total": 2}, "http://odd": {}}
    line = {"model": "acme/a-GGUF:Q8_0", "event": "download_progress", "data": {"progress": state}}
    _, event = asked(events, body=b"data: " + json.dumps(line).encode() + b"\n", stream=True)
    (file,) = event.files
    assert (file.repo, file.commit, file.path, file.done, file.total) == ("acme/a-GGUF", "c1", "Q8 0/x-Q8_0.gguf", 1, 2)
