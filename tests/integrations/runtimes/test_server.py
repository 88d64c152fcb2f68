"""A server is asked on first use, with its key and nobody else's; a look is whole or unknown."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from reconciler.domain.desired import Target
from reconciler.domain.observation import ObservedTarget
from reconciler.errors import Refused, Unreachable
from reconciler.integrations.http import Http, MockTransport, Request, Response
from reconciler.integrations.runtimes.server import Server, known, unknown
from tests.fakes import FixedClock

HERE = Target(name="gpu", runtime="ollama", endpoint="http://gpu.test/")


class Line:
    """What was asked, over every client that was made."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str | None]] = []
        self.made = 0

    def client(self) -> Http:
        self.made += 1
        return Http(clock=FixedClock(), transport=MockTransport(self._answer))

    def _answer(self, request: Request) -> Response:
        self.asked.append((str(request.url), request.headers.get("Authorization")))
        return Response(200, content=b"{}")


@pytest.fixture
async def line_and_server() -> AsyncIterator[Callable[[str | None], tuple[Line, Server]]]:
    opened: list[Server] = []

    def make(key: str | None = None) -> tuple[Line, Server]:
        line = Line()
        opened.append(Server("http://gpu.test/", http=line.client, key=key))
        return line, opened[-1]

    yield make
    for server in opened:
        await server.close()


async def test_the_client_is_made_by_the_first_request_and_again_after_a_close(line_and_server) -> None:
    line, server = line_and_server(None)
    assert line.made == 0
    await server.ask("GET", "/a")
    await server.ask("GET", "/b")
    assert line.made == 1
    await server.close()
    await server.ask("GET", "/c")
    assert line.made == 2
    assert line.asked == [("http://gpu.test/a", None), ("http://gpu.test/b", None), ("http://gpu.test/c", None)]


async def test_a_key_goes_to_the_server_and_to_no_process_beside_it(line_and_server) -> None:
    line, server = line_and_server(" secret-key\n")
    await server.ask("GET", "/a")
    async with server.stream("POST", "/b", idle_timeout_seconds=1, headers={"X": "y"}):
        pass
    await server.beside("http://127.0.0.1:9").ask("GET", "/c")
    assert [key for _, key in line.asked] == ["Bearer secret-key", "Bearer secret-key", None]
    assert line.made == 1


async def test_a_process_beside_it_neither_keeps_nor_closes_its_client(line_and_server) -> None:
    line, server = line_and_server(None)
    beside = server.beside("http://127.0.0.1:9")
    await beside.ask("GET", "/a")
    await beside.close()
    await server.ask("GET", "/b")
    assert line.made == 1
    await server.close()
    await beside.ask("GET", "/c")
    assert line.made == 2, "the one that was closed is not asked again"


async def test_a_key_that_no_header_can_carry_is_refused_before_anything_is_sent(line_and_server) -> None:
    line, server = line_and_server("two\nlines")
    with pytest.raises(Refused, match="characters that no key has") as raised:
        await server.ask("GET", "/a")
    assert (raised.value.code, line.asked) == ("unauthorised", [])


@pytest.mark.parametrize(("key", "words"), [(None, "wants an API key"), ("secret-key", "does not accept")])
def test_who_is_kept_out_hears_whether_a_key_was_sent(key: str | None, words: str) -> None:
    error = Server("http://gpu.test", http=Line().client, key=key).wants_key()
    assert words in error.message
    assert "secret" not in f"{error.message}{error.hint}"
    assert "apiKeyFrom" in (error.hint or "")


def test_a_server_that_repeats_the_key_is_not_repeated() -> None:
    server = Server("http://gpu.test", http=Line().client, key="s3cret")
    assert server.without_key(b"you sent Bearer s3cret") == "you sent Bearer …".encode()
    assert Server("http://gpu.test", http=Line().client).without_key(b"nothing") == b"nothing"


def test_a_look_that_failed_says_what_should_run_unless_the_error_knows_better() -> None:
    plain = unknown(HERE, Unreachable("no answer", code="timed-out"), program="Ollama")
    assert (plain.reason, plain.code, plain.key) == ("no answer", "timed-out", HERE.key)
    assert plain.hint == "is Ollama running? See `endpoint` of target gpu"
    assert unknown(HERE, Unreachable("no", hint="wait"), program="Ollama").hint == "wait"


def test_a_step_needs_a_look_that_saw_something() -> None:
    seen = ObservedTarget(name="gpu", key=HERE.key)
    assert known(seen) is seen
    with pytest.raises(Unreachable, match="no answer") as raised:
        known(unknown(HERE, Unreachable("no answer", code="timed-out"), program="Ollama"))
    assert raised.value.code == "timed-out"
