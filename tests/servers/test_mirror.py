"""The mirror over a real socket, asked the way Hub clients ask."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from reconciler.errors import Refused
from reconciler.integrations.clock import SystemClock
from reconciler.integrations.http import Http
from reconciler.servers.mirror import Mirror, serve

BODY = bytes(range(256)) * 40
CARD = (
    b"---\nlicense: apache-2.0\nbase_model: Qwen/Qwen3-0.6B\npipeline_tag: text-generation\ntags: [chat]\n---\n# Hi\n"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "models"
    for name, body in {
        "org/Tiny-GGUF/tiny-Q8_0.gguf": BODY,
        "org/Tiny-GGUF/Q4/tiny-Q4_0.gguf": b"q4",
        "org/Tiny-GGUF/README.md": CARD,
        "org/Plain/notes.txt": b"no model",
        "other/Big-GGUF/big-Q4_K_M.gguf": b"big",
        "org/Tiny-GGUF/.hidden/secret": b"hidden",
        "org/Tiny-GGUF/half.gguf.partial": b"half",
        ".localmodels/partial/x.partial": b"half",
        "loose.gguf": b"loose",
        "-bad-/repo/x.gguf": b"no name the Hub allows",
    }.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    (tmp_path / "secret.gguf").write_bytes(b"outside")
    (root / "org/Tiny-GGUF/link.gguf").symlink_to(tmp_path / "secret.gguf")
    (root / "org/Tiny-GGUF/inside.gguf").symlink_to("tiny-Q8_0.gguf")
    return root


@pytest.fixture
def mirror(folder: Path) -> Iterator[Mirror]:
    with serve(folder) as running:
        yield running


def ask(mirror: Mirror, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    """One request, the path sent as it is."""
    connection = HTTPConnection(urlsplit(mirror.url).netloc, timeout=10)
    try:
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
    finally:
        connection.close()


def told(mirror: Mirror, path: str) -> object:
    status, _, body = ask(mirror, path)
    assert status == 200, body
    return json.loads(body)


def ids(mirror: Mirror, query: str) -> list[str]:
    rows = told(mirror, f"/api/models?{query}")
    assert isinstance(rows, list)
    return [row["id"] for row in rows]


def test_lists_repositories_by_search_author_and_tag(mirror: Mirror) -> None:
    assert ids(mirror, "") == ["org/Plain", "org/Tiny-GGUF", "other/Big-GGUF"]
    assert ids(mirror, "search=tiny") == ["org/Tiny-GGUF"]
    assert ids(mirror, "search=tiny&search=big") == []
    assert ids(mirror, "author=org") == ["org/Plain", "org/Tiny-GGUF"]
    assert ids(mirror, "filter=gguf") == ["org/Tiny-GGUF", "other/Big-GGUF"]
    assert ids(mirror, "filter=gguf&filter=license:apache-2.0") == ["org/Tiny-GGUF"]
    assert ids(mirror, "filter=gguf,base_model:quantized:Qwen/Qwen3-0.6B") == ["org/Tiny-GGUF"]
    assert ids(mirror, "limit=1&limit=x&sort=downloads") == ["org/Plain"]


def test_lists_the_newest_first(folder: Path, mirror: Mirror) -> None:
    os.utime(folder / "other/Big-GGUF/big-Q4_K_M.gguf", (2e9, 2e9))
    assert ids(mirror, "sort=lastModified&limit=1") == ["other/Big-GGUF"]


def test_pages_follow_by_link(mirror: Mirror) -> None:
    _, headers, first = ask(mirror, "/api/models?limit=2&filter=gguf&search=g")
    assert "link" not in headers
    _, headers, first = ask(mirror, "/api/models?limit=2")
    url = headers["link"].removeprefix("<").removesuffix('>; rel="next"')
    assert url.startswith(mirror.url)
    rest = ids(mirror, urlsplit(url).query)
    assert [row["id"] for row in json.loads(first)] + rest == ids(mirror, "")


def test_detail_says_commit_files_and_sizes(mirror: Mirror) -> None:
    detail = told(mirror, "/api/models/org/Tiny-GGUF?blobs=true")
    assert isinstance(detail, dict)
    assert len(detail["sha"]) == 40
    assert {"gguf", "chat", "license:apache-2.0", "base_model:Qwen/Qwen3-0.6B"} <= set(detail["tags"])
    assert (detail["gated"], detail["private"], detail["author"]) == (False, False, "org")
    assert detail["lastModified"].endswith("Z")
    assert detail["cardData"]["license"] == "apache-2.0"
    files = {each["rfilename"]: each for each in detail["siblings"]}
    assert set(files) == {"Q4/tiny-Q4_0.gguf", "README.md", "inside.gguf", "tiny-Q8_0.gguf"}
    assert files["tiny-Q8_0.gguf"]["lfs"]["sha256"] == hashlib.sha256(BODY).hexdigest()
    assert files["tiny-Q8_0.gguf"]["size"] == len(BODY)
    assert told(mirror, f"/api/models/org/Tiny-GGUF/revision/{detail['sha']}?blobs=1") == detail
    assert told(mirror, "/api/models?search=tiny&expand=sha&expand=siblings") == [
        {"id": "org/Tiny-GGUF", "sha": detail["sha"], "siblings": [{"rfilename": name} for name in sorted(files)]}
    ]


def test_refs_and_tree(mirror: Mirror) -> None:
    refs = told(mirror, "/api/models/org/Tiny-GGUF/refs")
    assert isinstance(refs, dict)
    commit = refs["branches"][0]["targetCommit"]
    assert refs["branches"] == [{"name": "main", "ref": "refs/heads/main", "targetCommit": commit}]
    whole = told(mirror, f"/api/models/org/Tiny-GGUF/tree/{commit}?recursive=true")
    assert isinstance(whole, list)
    assert [(row["type"], row["path"]) for row in whole] == [
        ("directory", "Q4"),
        ("file", "Q4/tiny-Q4_0.gguf"),
        ("file", "README.md"),
        ("file", "inside.gguf"),
        ("file", "tiny-Q8_0.gguf"),
    ]
    file = whole[-1]
    assert (file["size"], file["lfs"]["oid"]) == (len(BODY), hashlib.sha256(BODY).hexdigest())
    top = told(mirror, "/api/models/org/Tiny-GGUF/tree/main")
    assert isinstance(top, list)
    assert [row["path"] for row in top] == ["Q4", "README.md", "inside.gguf", "tiny-Q8_0.gguf"]
    below = told(mirror, "/api/models/org/Tiny-GGUF/tree/main/Q4")
    assert isinstance(below, list)
    assert [row["path"] for row in below] == ["Q4/tiny-Q4_0.gguf"]


def test_the_commit_is_the_content(folder: Path, mirror: Mirror) -> None:
    def commit() -> str:
        detail = told(mirror, "/api/models/other/Big-GGUF")
        assert isinstance(detail, dict)
        return str(detail["sha"])

    first = commit()
    path = folder / "other/Big-GGUF/big-Q4_K_M.gguf"
    os.utime(path, (1e9, 1e9))
    assert commit() == first
    path.write_bytes(b"BIG")
    second = commit()
    assert second != first
    assert ask(mirror, f"/other/Big-GGUF/resolve/{first}/big-Q4_K_M.gguf")[1]["x-error-code"] == "RevisionNotFound"
    assert ask(mirror, f"/other/Big-GGUF/resolve/{second}/big-Q4_K_M.gguf")[2] == b"BIG"


FILE = "/org/Tiny-GGUF/resolve/main/tiny-Q8_0.gguf"


def test_head_and_get_say_the_same(mirror: Mirror) -> None:
    status, headers, body = ask(mirror, FILE)
    digest = hashlib.sha256(BODY).hexdigest()
    assert (status, body) == (200, BODY)
    assert headers["etag"] == headers["x-linked-etag"] == f'"{digest}"'
    assert headers["x-linked-size"] == headers["content-length"] == str(len(BODY))
    assert headers["accept-ranges"] == "bytes"
    assert len(headers["x-repo-commit"]) == 40
    status, head, body = ask(mirror, FILE, "HEAD")
    assert (status, body) == (200, b"")
    assert {**head, "date": ""} == {**headers, "date": ""}


@pytest.mark.parametrize(
    ("wanted", "status", "start", "end"),
    [
        ("bytes=0-9", 206, 0, 10),
        ("bytes=100-", 206, 100, len(BODY)),
        ("bytes=-7", 206, len(BODY) - 7, len(BODY)),
        ("bytes=0-", 206, 0, len(BODY)),
        (f"bytes=0-{10**15}", 206, 0, len(BODY)),
        (f"bytes=-{10**15}", 206, 0, len(BODY)),
        ("bytes=0-1,5-9", 200, 0, len(BODY)),
        ("bytes=9-5", 200, 0, len(BODY)),
        ("lines=1-2", 200, 0, len(BODY)),
        ("bytes=-", 200, 0, len(BODY)),
    ],
)
def test_ranges(mirror: Mirror, wanted: str, status: int, start: int, end: int) -> None:
    answered, headers, body = ask(mirror, FILE, Range=wanted)
    assert (answered, body) == (status, BODY[start:end])
    assert headers.get("content-range") == (f"bytes {start}-{end - 1}/{len(BODY)}" if status == 206 else None)


@pytest.mark.parametrize("wanted", [f"bytes={len(BODY)}-", "bytes=-0", "bytes=999999999-9999999999"])
def test_a_range_beyond_the_end(mirror: Mirror, wanted: str) -> None:
    status, headers, body = ask(mirror, FILE, Range=wanted)
    assert (status, body, headers["content-range"]) == (416, b"", f"bytes */{len(BODY)}")


def test_conditions(mirror: Mirror) -> None:
    etag = ask(mirror, FILE, "HEAD")[1]["etag"]
    assert ask(mirror, FILE, If_None_Match=etag)[::2] == (304, b"")
    assert ask(mirror, FILE, Range="bytes=0-0", If_Range=etag)[::2] == (206, BODY[:1])
    assert ask(mirror, FILE, Range="bytes=0-0", If_Range='"other"')[::2] == (200, BODY)


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/api/models/org/Nope", "RepoNotFound"),
        ("/api/models/ORG/tiny-gguf", "RepoNotFound"),
        ("/api/models/org/Tiny-GGUF/revision/v9", "RevisionNotFound"),
        ("/api/models/org/Tiny-GGUF/tree/refs%2Fpr%2F1", "RevisionNotFound"),
        ("/api/models/org/Tiny-GGUF/tree/main/Nope", "EntryNotFound"),
        ("/org/Nope/resolve/main/x", "RepoNotFound"),
        ("/org/Tiny-GGUF/resolve/v9/tiny-Q8_0.gguf", "RevisionNotFound"),
        ("/org/Tiny-GGUF/resolve/main/nope.gguf", "EntryNotFound"),
        ("/org/Tiny-GGUF/resolve/main/half.gguf.partial", "EntryNotFound"),
        ("/org/Tiny-GGUF/resolve/main/.hidden/secret", "EntryNotFound"),
        ("/org/Tiny-GGUF/resolve/main/link.gguf", "EntryNotFound"),
        ("/org/Tiny-GGUF/resolve/main/../Plain/notes.txt", "EntryNotFound"),
        ("/org/Tiny-GGUF/resolve/main/..%2F..%2F..%2Fsecret.gguf", "EntryNotFound"),
        ("/org/Tiny-GGUF/resolve/main/%2Fetc%2Fpasswd", "EntryNotFound"),
        ("/org/Tiny-GGUF/resolve/main//etc/passwd", "EntryNotFound"),
        ("/org/Tiny-GGUF/resolve/main/%00", "EntryNotFound"),
        ("/org/..%2F../resolve/main/secret.gguf", "RepoNotFound"),
        ("/../models/resolve/main/loose.gguf", "RepoNotFound"),
        ("/-bad-/repo/resolve/main/x.gguf", "RepoNotFound"),
        ("/.localmodels/partial/resolve/main/x.partial", "RepoNotFound"),
    ],
)
def test_what_is_not_there_says_so_in_the_hubs_words(mirror: Mirror, path: str, code: str) -> None:
    status, headers, body = ask(mirror, path)
    assert (status, headers["x-error-code"]) == (404, code)
    assert json.loads(body)["error"] == headers["x-error-message"]


@pytest.mark.parametrize(
    "path", ["/nope", "/api/whoami-v2", "/org/Tiny-GGUF", "/api/models/org", "/api/models/a/b/c/d"]
)
def test_other_pages_are_not_there(mirror: Mirror, path: str) -> None:
    assert ask(mirror, path)[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_it_is_read_only(mirror: Mirror, method: str) -> None:
    status, headers, _ = ask(mirror, FILE, method)
    assert (status, headers["allow"]) == (405, "GET, HEAD")


def test_a_new_file_is_offered_without_a_restart(folder: Path, mirror: Mirror) -> None:
    fresh = folder / "new/Repo-GGUF/x-Q4_0.gguf"
    fresh.parent.mkdir(parents=True)
    fresh.write_bytes(b"fresh")
    assert "new/Repo-GGUF" in ids(mirror, "")
    assert ask(mirror, "/new/Repo-GGUF/resolve/main/x-Q4_0.gguf")[2] == b"fresh"
    fresh.unlink()
    assert ids(mirror, "search=new") == []


def test_an_empty_file(folder: Path, mirror: Mirror) -> None:
    (folder / "org/Plain/empty").write_bytes(b"")
    assert ask(mirror, "/org/Plain/resolve/main/empty")[::2] == (200, b"")
    assert ask(mirror, "/org/Plain/resolve/main/empty", Range="bytes=0-")[0] == 416


def test_digests_are_read_once(folder: Path, tmp_path: Path) -> None:
    read: list[str] = []
    for _ in range(2):
        serve(folder, cache_directory=tmp_path / "cache", hashing=lambda path, _: read.append(path)).close()
    assert len(read) == len(set(read)) == 6


def test_a_card_that_is_no_card_does_no_harm(folder: Path, mirror: Mirror) -> None:
    card = folder / "org/Tiny-GGUF/README.md"
    for damage in (
        b"---\na: [\n---\n",
        b"---\n- x\n---\n",
        b"---\na: &a [*a]\n---\n",
        b"\xff\xfe",
        b"---\nlicense: 3\n---\n",
    ):
        card.write_bytes(damage)
        assert "gguf" in told(mirror, "/api/models/org/Tiny-GGUF")["tags"]  # type: ignore[index]


def test_one_line_of_log_per_request(folder: Path) -> None:
    lines: list[str] = []
    with serve(folder, log=lines.append) as mirror:
        ask(mirror, FILE, "HEAD")
        ask(mirror, "/%1b[31m")
        raw(mirror, b"GET /\x1b[31m HTTP/1.1\r\n\r\n")
    assert lines[:2] == [f"127.0.0.1 HEAD {FILE} 200", "127.0.0.1 GET /%1b[31m 404"]
    assert not any("\x1b" in line for line in lines)


@pytest.mark.parametrize(
    "request_", [b"\x00\x01\r\n\r\n", b"GET\r\n\r\n", b"GET " + b"/" * 70_000 + b"\r\n\r\n", b"\r\n"]
)
def test_nonsense_is_answered_or_dropped(mirror: Mirror, request_: bytes) -> None:
    raw(mirror, request_)
    assert ask(mirror, FILE, "HEAD")[0] == 200


def raw(mirror: Mirror, sent: bytes) -> bytes:
    parts = urlsplit(mirror.url)
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=5) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        taken = b""
        try:
            while block := connection.recv(65_536):
                taken += block
        except ConnectionError:
            pass
        return taken


def test_many_at_once(mirror: Mirror) -> None:
    answers: list[bytes] = []
    threads = [threading.Thread(target=lambda: answers.append(ask(mirror, FILE)[2])) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [BODY] * 16


def test_closing_breaks_off_what_is_being_sent(folder: Path) -> None:
    large = folder / "org/Plain/large.bin"
    with large.open("wb") as file:
        file.truncate(200_000_000)
    mirror = serve(folder)
    connection = HTTPConnection(urlsplit(mirror.url).netloc, timeout=10)
    connection.request("GET", "/org/Plain/resolve/main/large.bin")
    response = connection.getresponse()
    response.read(1000)
    mirror.close()
    mirror.close()
    arrived = 1000
    with suppress(OSError, HTTPException):
        while block := response.read(10_000_000):
            arrived += len(block)
    assert arrived < 200_000_000
    connection.close()


def test_what_cannot_be_served_is_refused(tmp_path: Path, folder: Path, mirror: Mirror) -> None:
    with pytest.raises(Refused, match="not a folder"):
        serve(tmp_path / "none")
    taken = urlsplit(mirror.url).port or 0
    for host, port in (("127.0.0.1", taken), ("256.1.1.1", 0), ("127.0.0.1", 99_999)):
        with pytest.raises(Refused) as caught:
            serve(folder, host, port)
        assert caught.value.code == "address-unusable"


async def test_the_hub_client_of_ours_reads_it(mirror: Mirror) -> None:
    from reconciler.integrations.catalog.hub import HubClient

    http = Http(clock=SystemClock())
    hub = HubClient(http, endpoint=mirror.url)
    try:
        listed = await hub.list_models(filters=["gguf"], limit=1)
        assert [repo.id for repo in listed.repos] == ["org/Tiny-GGUF"]
        repo = await hub.model("org/Tiny-GGUF")
        assert (repo.license, repo.quantized_from, repo.gated) == ("apache-2.0", "Qwen/Qwen3-0.6B", False)
        tree = await hub.tree("org/Tiny-GGUF", repo.commit or "")
        assert tree.notes == ()
        assert {file.path: file.sha256 for file in tree.files}["tiny-Q8_0.gguf"] == hashlib.sha256(BODY).hexdigest()
        head = await hub.head("org/Tiny-GGUF", repo.commit or "", "tiny-Q8_0.gguf")
        assert (head.commit, head.bytes) == (repo.commit, len(BODY))
        assert await hub.read_range("org/Tiny-GGUF", "main", "tiny-Q8_0.gguf", 3, 5) == BODY[3:8]
    finally:
        await http.close()
