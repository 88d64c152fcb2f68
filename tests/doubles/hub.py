"""A Hub in the process: faithful to what huggingface.co answers, as far as our client and its own client can tell.

Two ways in: ``HubDouble.transport()`` for ``Http(transport=…)``, without a socket; and ``HubDouble.serve()``, a real
loopback server (with a second one as the CDN that file bytes are redirected to). Everything asked is kept in
``requests``; ``fail`` makes it answer with errors. Like the real CDN it refuses a request that carries a token.

Source:
    huggingface.co as of August 2026; headers as ``huggingface_hub`` 2.4.0 reads them.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, unquote, urlencode, urlsplit

from reconciler.integrations.http import ByteStream, MockTransport, Request, Response

HUB = "https://hub.double"
CDN = "https://cdn.double"
_LISTED = ("id", "modelId", "author", "downloads", "likes", "tags", "createdAt", "private", "pipeline_tag")
_SORTS = frozenset({"downloads", "likes", "lastModified", "createdAt", "trendingScore"})


@dataclass(frozen=True)
class DoubleFile:
    """One file; ``size`` and ``sha256`` may promise more than ``content`` holds: ranges beyond it are zeros."""

    content: bytes = b""
    size: int | None = None
    sha256: str | None = None
    lfs: bool = True

    @property
    def bytes(self) -> int:
        return len(self.content) if self.size is None else self.size

    @property
    def digest(self) -> str:
        return self.sha256 or hashlib.sha256(self.content).hexdigest()


@dataclass
class DoubleRepo:
    """One repository: its facts, and its files by commit."""

    id: str
    facts: dict[str, Any] = field(default_factory=dict)
    gated: bool | str = False
    private: bool = False
    disabled: bool = False
    refs: dict[str, str] = field(default_factory=dict)
    commits: dict[str, dict[str, DoubleFile]] = field(default_factory=dict)

    @property
    def head(self) -> str:
        return self.refs["main"]

    def push(self, files: Mapping[str, DoubleFile], ref: str = "main") -> str:
        """A new commit with exactly these files; the ref moves to it."""
        listing = [(path, each.digest, each.bytes) for path, each in sorted(files.items())]
        commit = hashlib.sha1(repr((self.id, len(self.commits), listing)).encode()).hexdigest()
        self.commits[commit] = dict(files)
        self.refs[ref] = commit
        return commit

    def at(self, revision: str) -> tuple[str, dict[str, DoubleFile]] | None:
        commit = self.refs.get(revision, revision)
        return (commit, self.commits[commit]) if commit in self.commits else None


@dataclass(frozen=True)
class Asked:
    method: str
    host: str
    path: str
    query: str
    headers: Mapping[str, str]

    @property
    def token(self) -> str | None:
        return self.headers.get("authorization")


Answer = tuple[int, dict[str, str], bytes]


class HubDouble:
    """Repositories, who may read them, and what goes wrong."""

    def __init__(self, *, granted: Sequence[str] = (), tokens: Sequence[str] = (), page_rows: int = 50) -> None:
        self.repos: dict[str, DoubleRepo] = {}
        self.renamed: dict[str, str] = {}
        self.tokens = {*tokens, *granted}
        """Tokens the Hub knows."""
        self.granted = set(granted)
        """Tokens that may read gated and private repositories."""
        self.page_rows = page_rows
        self.requests: list[Asked] = []
        self.requests_left = 500
        self.extra_rows: list[object] = []
        """Put in front of every list, as they are."""
        self.ignore_ranges = False
        self._faults: list[tuple[Callable[[Asked], bool], list[Answer | Exception]]] = []
        self._hub, self._cdn = HUB, CDN

    def add(self, repo: str, files: Mapping[str, DoubleFile | bytes] | None = None, **facts: Any) -> DoubleRepo:
        """A repository; ``gated``, ``private``, ``disabled`` apart, ``facts`` are keys of the Hub's own answer."""
        rights = {key: facts.pop(key) for key in ("gated", "private", "disabled") if key in facts}
        made = DoubleRepo(repo, facts, **rights)
        given = files if files is not None else {"README.md": DoubleFile(b"# hello\n", lfs=False)}
        made.push({path: each if isinstance(each, DoubleFile) else DoubleFile(each) for path, each in given.items()})
        self.repos[repo] = made
        return made

    def fail(self, part: str, *answers: Answer | Exception | int, method: str | None = None) -> None:
        """The next requests whose URL has ``part`` get these answers, one each; the last one for ever."""
        ready = [(answer, {}, b"no") if isinstance(answer, int) else answer for answer in answers]

        def matches(asked: Asked) -> bool:
            return part in f"{asked.host}{asked.path}?{unquote(asked.query)}" and method in {None, asked.method}

        self._faults.insert(0, (matches, ready))

    def heal(self) -> None:
        self._faults.clear()

    def asked(self, part: str) -> list[Asked]:
        return [each for each in self.requests if part in f"{each.host}{each.path}?{unquote(each.query)}"]

    def transport(self) -> MockTransport:
        """For ``Http(transport=…)`` with the endpoint ``HUB``."""
        return MockTransport(self._respond)

    def _respond(self, request: Request) -> Response:
        url = urlsplit(str(request.url))
        asked = Asked(request.method, url.netloc, unquote(url.path), url.query, dict(request.headers))
        status, headers, body = self.answer(asked)
        shown = b"" if request.method == "HEAD" else body
        return Response(status, headers=headers, stream=ByteStream(shown), request=request)

    @contextmanager
    def serve(self) -> Iterator[str]:
        """The endpoint's URL on loopback, while the block runs."""
        hub, cdn = _server(self), _server(self)
        self._hub, self._cdn = (f"http://127.0.0.1:{each.server_address[1]}" for each in (hub, cdn))
        threads = [threading.Thread(target=each.serve_forever, args=(0.02,)) for each in (hub, cdn)]
        for thread in threads:
            thread.start()
        try:
            yield self._hub
        finally:
            for each in (hub, cdn):
                each.shutdown()
                each.server_close()
            for thread in threads:
                thread.join()
            self._hub, self._cdn = HUB, CDN

    def answer(self, asked: Asked) -> Answer:
        self.requests.append(asked)
        for matches, answers in self._faults:
            if matches(asked):
                fault = answers.pop(0) if len(answers) > 1 else answers[0]
                if isinstance(fault, Exception):
                    raise fault
                return fault
        if asked.host == urlsplit(self._cdn).netloc:
            return self._cdn_answer(asked)
        status, headers, body = self._hub_answer(asked)
        self.requests_left = max(0, self.requests_left - 1)
        limits = {
            "RateLimit": f'"api";r={self.requests_left};t=120',
            "RateLimit-Policy": '"fixed window";"api";q=500;w=300',
        }
        return status, {"X-Request-Id": str(len(self.requests)), **limits, **headers}, body

    def _hub_answer(self, asked: Asked) -> Answer:
        if self.requests_left == 0:
            return _error(429, "", "We had to rate limit your IP")
        token = (asked.token or "").removeprefix("Bearer ")
        if token and token not in self.tokens:
            return _error(401, "", "Invalid credentials in Authorization header")
        if asked.path == "/api/models":
            return self._list(asked)
        if asked.path.startswith("/api/models/"):
            return self._described(asked, token)
        organisation, _, rest = asked.path.lstrip("/").partition("/")
        name, _, rest = rest.partition("/")
        if rest.startswith("resolve/"):
            return self._resolved(asked, f"{organisation}/{name}", rest.removeprefix("resolve/"), token)
        return _error(404, "", "Sorry, we can't find the page you are looking for.")

    def _list(self, asked: Asked) -> Answer:
        query = parse_qs(asked.query)
        sort = query.get("sort", ["trendingScore"])[0]
        if sort not in _SORTS:
            return _error(400, "", f"Invalid sort: {sort}")
        rows = [self._row(repo, query) for repo in self._found(query, sort)]
        start = int(query.get("cursor", ["0"])[0])
        limit = min(int(query.get("limit", ["1000"])[0]), self.page_rows)
        headers = {}
        if start + limit < len(rows):
            left = [(key, value) for key, value in parse_qsl(asked.query) if key != "cursor"]
            following = urlencode([*left, ("cursor", str(start + limit))])
            headers["Link"] = f'<{self._hub}/api/models?{following}>; rel="next"'
        shown = rows[start : start + limit]
        return _json([*self.extra_rows, *shown] if start == 0 else shown, headers)

    def _found(self, query: Mapping[str, list[str]], sort: str) -> list[DoubleRepo]:
        wanted = {tag for value in query.get("filter", []) for tag in value.split(",")}
        author = query.get("author", [None])[0]
        words = [word.lower() for word in query.get("search", [])]
        found = [
            repo
            for repo in self.repos.values()
            if not repo.private
            and author in {None, repo.id.partition("/")[0]}
            and wanted <= set(repo.facts.get("tags", []))
            and all(word in repo.id.lower() for word in words)
        ]
        return sorted(found, key=lambda repo: repo.facts.get(sort, 0) or 0, reverse=True)

    def _row(self, repo: DoubleRepo, query: Mapping[str, list[str]]) -> dict[str, Any]:
        whole = self._detail(repo, repo.head)
        wanted = [*query.get("expand", []), *query.get("expand[]", [])]
        if wanted:
            return {key: whole[key] for key in ("id", *wanted) if key in whole}
        extra = ("sha", "siblings", "gated", "lastModified") if "full" in query else ()
        return {key: whole[key] for key in (*_LISTED, *extra) if key in whole}

    def _detail(self, repo: DoubleRepo, commit: str, *, blobs: bool = False) -> dict[str, Any]:
        siblings = [
            {"rfilename": path, **(_blob(each) if blobs else {})} for path, each in sorted(repo.commits[commit].items())
        ]
        return {
            "_id": hashlib.sha1(repo.id.encode()).hexdigest()[:24],
            "id": repo.id,
            "modelId": repo.id,
            "author": repo.id.partition("/")[0],
            "sha": commit,
            "private": repo.private,
            "gated": repo.gated,
            "disabled": repo.disabled,
            "downloads": 0,
            "likes": 0,
            "tags": [],
            "createdAt": "2026-01-02T03:04:05.000Z",
            "lastModified": "2026-02-03T04:05:06.000Z",
            "siblings": siblings,
            **repo.facts,
        }

    def _described(self, asked: Asked, token: str) -> Answer:
        parts = asked.path.removeprefix("/api/models/").split("/")
        name, kind, rest = "/".join(parts[:2]), parts[2] if len(parts) > 2 else "", "/".join(parts[3:])
        if name in self.renamed:
            new = asked.path.replace(name, self.renamed[name], 1)
            return 307, {"Location": f"{new}?{asked.query}".rstrip("?")}, b""
        repo = self.repos.get(name)
        if repo is None or (repo.private and token not in self.granted):
            return _error(404 if token else 401, "RepoNotFound", "Repository not found")
        if repo.disabled:
            return _error(403, "", "Access to this resource is disabled.")
        if kind == "refs":
            heads = [{"name": name, "ref": f"refs/heads/{name}", "targetCommit": at} for name, at in repo.refs.items()]
            return _json({"branches": heads, "converts": [], "tags": []})
        revision, _, below = (rest or "main").partition("/") if kind == "tree" else (rest or "main", "", "")
        found = repo.at(revision)
        if found is None:
            return _error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        if kind == "tree":
            return self._tree(asked, found[1], below)
        return _json(self._detail(repo, found[0], blobs="blobs" in parse_qs(asked.query)))

    def _tree(self, asked: Asked, files: Mapping[str, DoubleFile], below: str) -> Answer:
        query = parse_qs(asked.query)
        recursive = query.get("recursive", ["false"])[0].lower() == "true"
        rows: list[dict[str, Any]] = []
        folders = sorted({path.rpartition("/")[0] for path in files if "/" in path}) if recursive else []
        rows += [{"type": "directory", "oid": "0" * 40, "size": 0, "path": folder} for folder in folders]
        for path, each in sorted(files.items()):
            if path.startswith(below) and (recursive or "/" not in path[len(below) :].strip("/")):
                rows.append({"type": "file", "path": path, "oid": _git_oid(each), **_blob(each, tree=True)})
        start = int(query.get("cursor", ["0"])[0])
        headers = {}
        if start + self.page_rows < len(rows):
            headers["Link"] = (
                f'<{self._hub}{asked.path}?{urlencode({"recursive": "true", "cursor": start + self.page_rows})}>; rel="next"'
            )
        return _json(rows[start : start + self.page_rows], headers)

    def _resolved(self, asked: Asked, name: str, rest: str, token: str) -> Answer:
        repo = self.repos.get(name)
        if repo is None or (repo.private and token not in self.granted):
            return _error(404 if token else 401, "RepoNotFound", "Repository not found")
        revision, _, path = rest.partition("/")
        found = repo.at(revision)
        if found is None:
            return _error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        commit, files = found
        about = {"X-Repo-Commit": commit}
        if path not in files:
            return _error(404, "EntryNotFound", "Entry not found", about)
        if repo.gated and token not in self.granted:
            text = f"Access to model {name} is restricted and you are not in the authorized list."
            return _error(403 if token else 401, "GatedRepo", text, about)
        each = files[path]
        about |= {"Accept-Ranges": "bytes", "ETag": f'"{_git_oid(each)}"'}
        if not each.lfs:
            return self._bytes(asked, each, about)
        about |= {"X-Linked-Size": str(each.bytes), "X-Linked-Etag": f'"{each.digest}"'}
        where = f"{self._cdn}/repos/{name}/{commit}/{path}?Signature=secret&Expires=1"
        return 302, {**about, "Location": where}, b"Found. Redirecting"

    def _cdn_answer(self, asked: Asked) -> Answer:
        if asked.token is not None:
            return 400, {}, b"<Error><Code>InvalidArgument</Code>Only one auth mechanism allowed</Error>"
        _, _, organisation, name, commit, path = asked.path.split("/", 5)
        each = self.repos[f"{organisation}/{name}"].commits[commit][path]
        return self._bytes(asked, each, {"Accept-Ranges": "bytes", "ETag": f'"{each.digest}"'})

    def _bytes(self, asked: Asked, each: DoubleFile, headers: dict[str, str]) -> Answer:
        wanted = asked.headers.get("range", "")
        if self.ignore_ranges or not wanted.startswith("bytes="):
            return 200, headers, each.content
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        start, end = int(first), min(int(last) if last else each.bytes - 1, each.bytes - 1)
        if start > end:
            return 416, {**headers, "Content-Range": f"bytes */{each.bytes}"}, b""
        shown = each.content[start : end + 1].ljust(end - start + 1, b"\0")
        return 206, {**headers, "Content-Range": f"bytes {start}-{end}/{each.bytes}"}, shown


def _blob(each: DoubleFile, *, tree: bool = False) -> dict[str, Any]:
    shown: dict[str, Any] = {"size": each.bytes} if tree else {"size": each.bytes, "blobId": _git_oid(each)}
    if each.lfs:
        shown["lfs"] = {"oid" if tree else "sha256": each.digest, "size": each.bytes, "pointerSize": 135}
    return shown


def _git_oid(each: DoubleFile) -> str:
    return hashlib.sha1(b"blob %d\0" % each.bytes + each.digest.encode()).hexdigest()


def _json(value: object, headers: Mapping[str, str] | None = None) -> Answer:
    return 200, {"Content-Type": "application/json; charset=utf-8", **(headers or {})}, json.dumps(value).encode()


def _error(status: int, code: str, text: str, headers: Mapping[str, str] | None = None) -> Answer:
    named = {"X-Error-Code": code} if code else {}
    body = json.dumps({"error": text}).encode()
    return status, {"Content-Type": "application/json", "X-Error-Message": text, **named, **(headers or {})}, body


def _server(double: HubDouble) -> ThreadingHTTPServer:
    class Serve(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            headers = {key.lower(): value for key, value in self.headers.items()}
            asked = Asked(self.command, self.headers["Host"], unquote(url.path), url.query, headers)
            try:
                status, answered, body = double.answer(asked)
            except Exception:  # a fault that stands for a connection that breaks
                self.close_connection = True
                return
            self.send_response(status)
            for key, value in answered.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Serve)
    server.daemon_threads = True
    return server
