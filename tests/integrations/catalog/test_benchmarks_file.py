import json
from datetime import UTC, date, datetime

import pytest

from reconciler.errors import Refused, Unreachable
from reconciler.formats.origin_sources import ORIGIN_SOURCES
from reconciler.integrations.catalog.benchmarks_file import ask_origin_source, read_benchmarks
from reconciler.integrations.http import Http, MockTransport, Response

TODAY = date(2026, 6, 1)
ROW = {"model": "Qwen/Qwen3-8B", "benchmark": "mmlu-pro", "value": 61.5}
DOCUMENT = {"formatVersion": 1, "source": "our lab", "observedAt": "2026-05-01", "observations": [ROW]}


class StillClock:
    def now(self):
        return datetime(2026, 6, 1, tzinfo=UTC)

    def elapsed(self):
        return 0.0

    async def sleep(self, seconds):
        return None


def answering(status=200, content=b""):
    return Http(clock=StillClock(), transport=MockTransport(lambda request: Response(status, content=content)))


async def test_a_file_is_read(tmp_path):
    path = tmp_path / "observations.json"
    path.write_text(json.dumps(DOCUMENT))
    (found,) = await read_benchmarks(str(path), http=answering())
    assert (found.model, found.value, found.source, found.observed_at) == (
        "Qwen/Qwen3-8B",
        61.5,
        "our lab",
        date(2026, 5, 1),
    )


async def test_a_url_is_read():
    found = await read_benchmarks("https://example.org/o.json", http=answering(content=json.dumps(DOCUMENT).encode()))
    assert len(found) == 1


@pytest.mark.parametrize(("status", "error"), [(404, Refused), (500, Unreachable), (429, Unreachable)])
async def test_a_url_that_answers_no(status, error):
    with pytest.raises(error, match=f"HTTP {status}"):
        await read_benchmarks("https://example.org/o.json?token=secret", http=answering(status))


async def test_no_such_file(tmp_path):
    with pytest.raises(Refused, match="cannot be read") as caught:
        await read_benchmarks(str(tmp_path / "none.json"), http=answering())
    assert caught.value.code == "file-unreadable"


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
async def test_not_json(tmp_path, content):
    path = tmp_path / "o.json"
    path.write_bytes(content)
    with pytest.raises(Refused, match="not JSON"):
        await read_benchmarks(str(path), http=answering())


async def test_every_flaw_with_its_row(tmp_path):
    path = tmp_path / "o.json"
    path.write_text(json.dumps({**DOCUMENT, "observations": [ROW, {**ROW, "value": "61"}, {**ROW, "colour": 1}]}))
    with pytest.raises(Refused, match=r"observations\[1\]\.value: .*and 1 more") as caught:
        await read_benchmarks(str(path), http=answering())
    assert [problem["path"] for problem in caught.value.details["problems"]] == [
        "observations[1].value",
        "observations[2].colour",
    ]


async def test_an_origin_source_answers():
    payload = [{"id": "Qwen/Qwen3-8B", "downloads": 100, "likes": 2}, {"modelId": "a/b", "downloads": 50, "likes": 1}]
    answer = await ask_origin_source(
        ORIGIN_SOURCES["hf-popularity"], http=answering(content=json.dumps(payload).encode()), today=TODAY
    )
    assert [(each.model, each.value) for each in answer.observations] == [("Qwen/Qwen3-8B", 100), ("a/b", 50)]
    assert (answer.warnings, answer.fetched_at) == ((), TODAY)


@pytest.mark.parametrize("name", ORIGIN_SOURCES)
@pytest.mark.parametrize(
    ("status", "content", "code", "text"),
    [
        (503, b"", "fetch_failed", "HTTP 503"),
        (200, b"<html>", "parse_failed", "did not answer with JSON"),
        (200, b"7", "schema_invalid", "not a list"),
    ],
)
async def test_an_origin_source_that_fails_is_a_coded_warning(name, status, content, code, text):
    answer = await ask_origin_source(ORIGIN_SOURCES[name], http=answering(status, content), today=TODAY)
    assert answer.observations == ()
    (warning,) = answer.warnings
    assert (warning.code, warning.source) == (code, name)
    assert text in warning.message


async def test_a_source_that_cannot_be_reached_is_a_warning():
    http = Http(clock=StillClock(), transport=MockTransport(lambda request: Response(200)))
    source = ORIGIN_SOURCES["hf-popularity"]
    answer = await ask_origin_source(type(source)(source.name, "nonsense://x", source.parse), http=http, today=TODAY)
    assert answer.warnings[0].code in {"fetch_failed", "parse_failed"}


@pytest.mark.parametrize(
    ("name", "url"),
    [
        (
            "open-llm-leaderboard",
            "https://huggingface.co/api/datasets/open-llm-leaderboard/contents/v2/leaderboard.json",
        ),
        ("hf-popularity", "https://huggingface.co/api/models?filter=text-generation&sort=downloads&limit=100"),
    ],
)
async def test_the_origins_addresses_are_asked(name, url):
    asked = []

    def answer(request):
        asked.append(str(request.url))
        return Response(200, json=[])

    http = Http(clock=StillClock(), transport=MockTransport(answer))
    await ask_origin_source(ORIGIN_SOURCES[name], http=http, today=TODAY)
    assert asked == [url]
