from __future__ import annotations

import asyncio
from urllib.parse import unquote

import pytest

from reconciler.domain.units import Bytes
from reconciler.errors import Corrupt, OutsideError, Refused, Unreachable
from reconciler.integrations.catalog.hub import HubClient
from reconciler.integrations.catalog.hub_wire import HubFile
from reconciler.integrations.http import Http, MockTransport, Request, Response
from tests.doubles.hub import CDN, HUB, DoubleFile, HubDouble
from tests.integrations.catalog.world import StillClock, gguf_bytes, weights

TOKEN = "hf_geheim"


def client(double: HubDouble, *, token: str | None = None, retries: int = 0) -> HubClient:
    return HubClient(Http(clock=StillClock(), transport=double.transport(), retries=retries), endpoint=HUB, token=token)


def answering(response: Response | Exception, *, token: str | None = None) -> HubClient:
    def answer(_: object) -> Response:
        if isinstance(response, Exception):
            raise response
        return response

    http = Http(clock=StillClock(), transport=MockTransport(answer), retries=0)
    return HubClient(http, endpoint=f"{HUB}/", token=token)


@pytest.fixture
def double() -> HubDouble:
    made = HubDouble(granted=[TOKEN], tokens=["hf_other"])
    made.add("Qwen/Qwen3-8B-GGUF", {"Qwen3-8B-Q4_K_M.gguf": b"GGUF-bytes"}, downloads=7, likes=3, tags=["gguf"])
    return made


async def test_list_url_has_its_query_sorted_with_bearer_and_accept(double: HubDouble) -> None:
    await client(double, token=TOKEN).list_models(search="qwen3", sort="downloads", limit=5)
    (asked,) = double.requests
    assert (asked.path, asked.query) == ("/api/models", "limit=5&search=qwen3&sort=downloads")
    assert asked.headers["accept"] == "application/json"
    assert asked.token == f"Bearer {TOKEN}"


@pytest.mark.parametrize("token", [None, "", "  \n"])
async def test_no_bearer_without_a_token(double: HubDouble, token: str | None) -> None:
    await client(double, token=token).list_models()
    assert double.requests[0].token is None


async def test_a_token_read_from_a_file_may_end_in_a_newline(double: HubDouble) -> None:
    await client(double, token=f"{TOKEN}\n").list_models()
    assert double.requests[0].token == f"Bearer {TOKEN}"


@pytest.mark.parametrize("token", ["two words", "zwei\nzeilen", "gehéim"])
def test_a_token_that_cannot_be_one_is_refused_unquoted(token: str) -> None:
    with pytest.raises(Refused) as caught:
        answering(Response(200), token=token)
    assert caught.value.code == "unauthorised"
    assert token not in f"{caught.value.message}{caught.value.hint}{caught.value.details}"


async def test_trailing_slashes_of_the_endpoint_do_not_matter() -> None:
    assert answering(Response(200)).endpoint == HUB


async def test_detail_with_siblings(double: HubDouble) -> None:
    found = await client(double).model("Qwen/Qwen3-8B-GGUF")
    assert found.files == ("Qwen3-8B-Q4_K_M.gguf",)
    assert found.commit == double.repos["Qwen/Qwen3-8B-GGUF"].head
    assert (found.downloads, found.likes, found.author) == (7, 3, "Qwen")
    assert double.requests[0].path == "/api/models/Qwen/Qwen3-8B-GGUF"


async def test_download_count(double: HubDouble) -> None:
    assert await client(double).download_count("Qwen/Qwen3-8B-GGUF") == 7


async def test_a_revision_is_one_segment_of_the_path(double: HubDouble) -> None:
    commit = double.repos["Qwen/Qwen3-8B-GGUF"].head
    double.repos["Qwen/Qwen3-8B-GGUF"].refs["refs/pr/1"] = commit
    assert (await client(double).model("Qwen/Qwen3-8B-GGUF", "refs/pr/1")).commit == commit


@pytest.mark.parametrize("token", [None, "hf_other"])
async def test_404_and_a_private_repository_are_not_found(double: HubDouble, token: str | None) -> None:
    double.add("Qwen/secret", private=True)
    for repo in ("Qwen/nothing", "Qwen/secret"):
        with pytest.raises(Refused) as caught:
            await client(double, token=token).model(repo)
        assert caught.value.code == "not-found"
        assert "private" in (caught.value.hint or "")


async def test_a_plain_404_is_not_found() -> None:
    with pytest.raises(Refused) as caught:
        await answering(Response(404, content=b"x" * 5000)).model("a/b")
    assert caught.value.code == "not-found"
    assert "404" in caught.value.message
    assert "x" * 200 in caught.value.message
    assert "x" * 201 not in caught.value.message


async def test_an_unknown_revision_is_not_found(double: HubDouble) -> None:
    with pytest.raises(Refused) as caught:
        await client(double).model("Qwen/Qwen3-8B-GGUF", "nope")
    assert caught.value.code == "not-found"
    assert "nope" in caught.value.message


async def test_a_name_that_is_no_repository_is_not_asked_for(double: HubDouble) -> None:
    for name in ("gpt2", "../../etc", "a/b/c", "a/b?x=1"):
        with pytest.raises(Refused) as caught:
            await client(double).model(name)
        assert caught.value.code == "not-found"
    assert double.requests == []


@pytest.mark.parametrize("status", [401, 403])
async def test_401_and_403_are_unauthorised(status: int) -> None:
    with pytest.raises(Refused) as caught:
        await answering(Response(status, json={"error": "no"})).model("a/b")
    assert (caught.value.code, caught.value.retryable) == ("unauthorised", False)


async def test_an_invalid_token_is_unauthorised_and_not_quoted(double: HubDouble) -> None:
    with pytest.raises(Refused) as caught:
        await client(double, token="hf_wrong").model("Qwen/Qwen3-8B-GGUF")
    assert caught.value.code == "unauthorised"
    assert "hf_wrong" not in f"{caught.value.message}{caught.value.hint}{caught.value.details}"


async def test_a_token_the_answer_echoes_is_hidden() -> None:
    with pytest.raises(Refused) as caught:
        await answering(Response(401, content=b"bad token hf_echo\x1b[31m!"), token="hf_echo").model("a/b")
    assert "hf_echo" not in caught.value.message
    assert caught.value.message.isprintable()


@pytest.mark.parametrize(
    ("status", "code"), [(429, "rate-limited"), (500, "unreachable"), (503, "unreachable"), (418, "unreachable")]
)
async def test_429_5xx_and_every_other_status_are_unreachable(status: int, code: str) -> None:
    with pytest.raises(Unreachable) as caught:
        await answering(Response(status, headers={"Retry-After": "90"})).model("a/b")
    assert (caught.value.code, caught.value.retryable) == (code, True)
    assert caught.value.retry_after_seconds == 90


async def test_a_spent_window_says_when_to_come_back(double: HubDouble) -> None:
    double.requests_left = 1
    hub = client(double)
    await hub.list_models()
    assert hub.requests_left == 0
    with pytest.raises(Unreachable) as caught:
        await hub.list_models()
    assert (caught.value.code, caught.value.retry_after_seconds) == ("rate-limited", 120.0)


async def test_a_connection_that_fails_is_unreachable(double: HubDouble) -> None:
    double.fail("/api/models", OSError("gone"))
    with pytest.raises(Unreachable):
        await client(double).list_models()


async def test_a_body_that_is_not_json_is_a_bad_answer() -> None:
    for question in (
        answering(Response(200, text="<html>")).model("a/b"),
        answering(Response(200, text="<")).list_models(),
    ):
        with pytest.raises(Corrupt) as caught:
            await question
        assert caught.value.code == "bad-answer"


@pytest.mark.parametrize("body", [{}, "x", None, 3])
async def test_a_list_that_is_no_list_is_a_bad_answer(body: object) -> None:
    with pytest.raises(Corrupt):
        await answering(Response(200, json=body)).list_models()


@pytest.mark.parametrize("body", [[], {}, {"id": ""}, {"id": 3}, "x"])
async def test_a_detail_without_an_id_is_a_bad_answer(body: object) -> None:
    with pytest.raises(Corrupt):
        await answering(Response(200, json=body)).model("a/b")


async def test_one_malformed_row_costs_itself_and_a_note(double: HubDouble) -> None:
    double.extra_rows = ["nonsense", {"downloads": 1}]
    listing = await client(double).list_models()
    assert [repo.id for repo in listing.repos] == ["Qwen/Qwen3-8B-GGUF"]
    assert listing.notes == ("2 of 3 rows of the Hub's list could not be read and were left out",)


async def test_a_cancelled_request_ends_at_once(double: HubDouble) -> None:
    class Hanging(HubDouble):
        pass

    async def hang(_: object) -> Response:
        await asyncio.sleep(60)
        raise AssertionError

    hub = HubClient(Http(clock=StillClock(), transport=MockTransport(hang)), endpoint=HUB)
    asking = asyncio.create_task(hub.list_models())
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking


async def test_the_author_is_derived_from_the_id() -> None:
    found = await answering(Response(200, json={"id": "Qwen/X"})).model("Qwen/X")
    assert found.author == "Qwen"


async def test_pages_are_followed_up_to_the_limit(double: HubDouble) -> None:
    double.page_rows = 2
    for number in range(9):
        double.add(f"Qwen/M{number}", tags=["gguf"], downloads=100 - number)
    listing = await client(double).list_models(author="Qwen", filters=("gguf",), sort="downloads", limit=5)
    assert [repo.id for repo in listing.repos] == [f"Qwen/M{number}" for number in range(5)]
    assert len(double.requests) == 3
    assert all("filter=gguf" in each.query for each in double.requests)


async def test_a_next_page_on_another_host_is_not_asked_for() -> None:
    asked: list[str] = []

    def answer(request: object) -> Response:
        asked.append(str(request.url))  # type: ignore[attr-defined]
        return Response(200, json=[{"id": "a/b"}], headers={"Link": '<https://evil.example/next>; rel="next"'})

    hub = HubClient(Http(clock=StillClock(), transport=MockTransport(answer)), endpoint=HUB, token=TOKEN)
    listing = await hub.list_models()
    assert len(asked) == 1
    assert listing.notes == (
        "the Hub's next page is on another host (https://evil.example/next) and was not asked for",
    )


async def test_endless_pages_end() -> None:
    def answer(_: object) -> Response:
        return Response(200, json=[{"id": "a/b"}], headers={"Link": '</api/models?cursor=x>; rel="next"'})

    hub = HubClient(Http(clock=StillClock(), transport=MockTransport(answer)), endpoint=HUB)
    assert len((await hub.list_models(limit=10_000)).repos) == 20
    assert hub.requests == 20


async def test_the_tree_has_sizes_and_digests_over_all_pages(double: HubDouble) -> None:
    double.page_rows = 2
    files = {f"Q{number}/M-Q{number}_0.gguf": DoubleFile(b"x" * number) for number in range(4, 9)}
    double.add("Qwen/Many", {**files, "README.md": DoubleFile(b"hello", lfs=False)})
    tree = await client(double).tree("Qwen/Many", "main")
    assert {file.path: (file.bytes, file.sha256) for file in tree.files} == {
        **{path: (file.bytes, file.digest) for path, file in files.items()},
        "README.md": (5, None),
    }
    assert tree.notes == ()


async def test_a_path_that_leads_out_of_the_repository_is_left_out(double: HubDouble) -> None:
    double.add("Qwen/Evil", {"../../.bashrc": b"x", "/etc/passwd": b"x", "a\\b": b"x", "fine.gguf": b"x"})
    tree = await client(double).tree("Qwen/Evil", "main")
    assert [file.path for file in tree.files] == ["fine.gguf"]
    assert tree.notes == ("3 files of the Hub's list could not be read and were left out",)


async def test_a_renamed_repository_is_not_taken_for_the_one_that_was_asked_for(double: HubDouble) -> None:
    double.renamed["Qwen/Old"] = "Qwen/Qwen3-8B-GGUF"
    with pytest.raises(Refused) as caught:
        await client(double).model("Qwen/Old")
    assert caught.value.code == "not-found"
    assert caught.value.details["renamedTo"] == "Qwen/Qwen3-8B-GGUF"


async def test_a_range_comes_from_the_cdn_without_the_token(double: HubDouble) -> None:
    hub = client(double, token=TOKEN)
    assert await hub.read_range("Qwen/Qwen3-8B-GGUF", "main", "Qwen3-8B-Q4_K_M.gguf", 2, 4) == b"UF-b"
    first, second = double.requests
    assert (first.host, first.token, first.headers["range"]) == ("hub.double", f"Bearer {TOKEN}", "bytes=2-5")
    assert (second.host, second.token, second.headers["range"]) == (CDN.removeprefix("https://"), None, "bytes=2-5")


async def test_a_server_that_ignores_ranges_is_read_from_the_start(double: HubDouble) -> None:
    double.ignore_ranges = True
    assert await client(double).read_range("Qwen/Qwen3-8B-GGUF", "main", "Qwen3-8B-Q4_K_M.gguf", 2, 4) == b"UF-b"


async def test_another_range_than_asked_for_is_a_bad_answer(double: HubDouble) -> None:
    double.fail("cdn", (206, {"Content-Range": "bytes 0-3/10"}, b"GGUF"))
    with pytest.raises(Corrupt):
        await client(double).read_range("Qwen/Qwen3-8B-GGUF", "main", "Qwen3-8B-Q4_K_M.gguf", 2, 4)


async def test_a_range_beyond_the_end_is_empty(double: HubDouble) -> None:
    assert await client(double).read_range("Qwen/Qwen3-8B-GGUF", "main", "Qwen3-8B-Q4_K_M.gguf", 99, 4) == b""


@pytest.mark.parametrize(("token", "code"), [(None, "gated"), ("hf_other", "gated"), (TOKEN, None)])
async def test_files_of_a_gated_repository_need_a_token_with_access(
    double: HubDouble, token: str | None, code: str | None
) -> None:
    double.add("google/gated", {"m-Q4_0.gguf": b"abc"}, gated="manual")
    hub = client(double, token=token)
    assert (await hub.model("google/gated")).gated
    assert (await hub.tree("google/gated", "main")).files
    if code is None:
        head = await hub.head("google/gated", "main", "m-Q4_0.gguf")
        assert head.commit == double.repos["google/gated"].head
        assert (head.bytes, head.sha256) == (3, DoubleFile(b"abc").digest)
        return
    for question in (
        hub.head("google/gated", "main", "m-Q4_0.gguf"),
        hub.read_range("google/gated", "main", "m-Q4_0.gguf", 0, 1),
    ):
        with pytest.raises(Refused) as caught:
            await question
        assert caught.value.code == code


async def test_a_missing_file_is_not_found(double: HubDouble) -> None:
    with pytest.raises(Refused) as caught:
        await client(double).head("Qwen/Qwen3-8B-GGUF", "main", "nope.gguf")
    assert caught.value.code == "not-found"


async def test_a_disabled_repository_is_not_installable(double: HubDouble) -> None:
    double.add("Qwen/off", disabled=True)
    with pytest.raises(Refused) as caught:
        await client(double).model("Qwen/off")
    assert caught.value.code == "not-installable"


async def header_of(double: HubDouble, content: bytes, *, dimensions_only: bool, size: int = 5 * 10**9):
    double.add("Qwen/H", {"h-Q4_0.gguf": weights(content, size=size)})
    double.requests.clear()
    file = HubFile("h-Q4_0.gguf", Bytes(size), None)
    header = await client(double).gguf_header("Qwen/H", "main", file, dimensions_only=dimensions_only)
    return header, [each.headers["range"] for each in double.requests if "cdn" in each.host]


async def test_one_range_of_64_kib_tells_the_dimensions(double: HubDouble) -> None:
    header, ranges = await header_of(double, gguf_bytes(tokens=50_000), dimensions_only=True)
    assert (header.layers, header.context_length) == (36, 40960)
    assert ranges == ["bytes=0-65535"]


async def test_a_deep_header_is_read_by_growing_ranges(double: HubDouble) -> None:
    content = gguf_bytes(tokens=100_000, template="{{ tools }}")
    header, ranges = await header_of(double, content + b"\0" * 8 * 2**20, dimensions_only=False)
    assert header.mentions_tools
    assert header.vocab == 100_000
    assert ranges == ["bytes=0-65535", "bytes=65536-1048575", "bytes=1048576-8388607"]


@pytest.mark.parametrize("content", [b"<html>not a model</html>" * 5000, gguf_bytes(tokens=9)[:-5]])
async def test_a_file_that_is_no_gguf_is_a_bad_answer(double: HubDouble, content: bytes) -> None:
    with pytest.raises(Corrupt) as caught:
        await header_of(double, content, dimensions_only=False, size=len(content))
    assert "h-Q4_0.gguf" in caught.value.message


async def test_no_error_and_no_text_of_the_client_shows_the_token(double: HubDouble) -> None:
    hub = client(double, token=TOKEN)
    texts = [repr(hub), str(hub)]
    double.add("google/gated", {"m.gguf": b"x"}, gated=True)
    double.granted.clear()
    for fault in (401, 403, 404, 429, 500, OSError(TOKEN)):
        double.heal()
        double.fail("/", fault)
        for question in (
            hub.list_models(),
            hub.model("a/b"),
            hub.tree("a/b", "main"),
            hub.read_range("a/b", "m", "c", 0, 1),
        ):
            with pytest.raises(OutsideError) as caught:
                await question
            texts.append(f"{caught.value!r} {caught.value.message} {caught.value.hint} {caught.value.details}")
    assert all(TOKEN not in unquote(text) for text in texts)


@pytest.mark.parametrize("ask", ["list_models", "model", "tree"])
async def test_what_names_commits_and_digests_is_taken_from_the_hub_itself_and_from_nowhere_it_redirects_to(
    ask: str,
) -> None:
    asked = []

    def answer(request: Request) -> Response:
        asked.append(request.url.host)
        return Response(302, headers={"Location": f"https://evil.example{request.url.path}"})

    http = Http(clock=StillClock(), transport=MockTransport(answer), retries=0)
    hub = HubClient(http, endpoint=HUB, token=TOKEN)
    questions = {
        "list_models": hub.list_models,
        "model": lambda: hub.model("Qwen/Qwen3-8B-GGUF"),
        "tree": lambda: hub.tree("Qwen/Qwen3-8B-GGUF", "main"),
    }
    with pytest.raises(Refused) as caught:
        await questions[ask]()
    assert (caught.value.code, len(set(asked)), "evil.example" in asked) == ("bad-redirect", 1, False)
