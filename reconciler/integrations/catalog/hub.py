"""The Hub over HTTP: list, detail, tree, and the first bytes of a file."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote, urlencode, urljoin, urlsplit

from reconciler.domain.names import split_repo
from reconciler.domain.units import Bytes
from reconciler.errors import Corrupt, OutsideError, Refused, Unreachable
from reconciler.formats.gguf import PREFIX_BYTES, GgufHeader, NeedMore, read_header
from reconciler.integrations.catalog.hub_wire import (
    HubFile,
    HubRepo,
    commit_of,
    files_of,
    next_page,
    repo_of,
    repos_of,
    sha256_of,
)
from reconciler.integrations.http import Http, Reply, public_url, translate
from reconciler.integrations.pauses import rate_limit, retry_after_seconds

LARGEST_HEADER_BYTES = 32 * 2**20
_MOST_PAGES = 20
_PAGE_ROWS = 100
_RANGE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Listing:
    """Repositories in the Hub's order, and what a person should know of how they were read."""

    repos: tuple[HubRepo, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Tree:
    """Every file of a repository at one revision."""

    files: tuple[HubFile, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FileHead:
    """What the Hub says of one file before it is fetched."""

    commit: str | None
    bytes: Bytes | None
    sha256: str | None


class HubClient:
    """Asks one Hub, or a mirror of it, about models.

    API: huggingface.co as of August 2026. The token goes to the endpoint's own host
    only: a redirect to a CDN is followed without it, a next page on another host is not followed at all.

    Args:
        http: the door; its retries and deadlines hold for every request but ranges of files.
        endpoint: base URL, trailing slashes ignored.
        token: access token; None or blank sends none.

    Raises:
        Refused: the token holds characters that no token has (a password file with two lines, say).
    """

    def __init__(self, http: Http, *, endpoint: str = "https://huggingface.co", token: str | None = None) -> None:
        self._http = http
        self.endpoint = endpoint.rstrip("/")
        self._token = (token or "").strip()
        if any(not "!" <= letter <= "~" for letter in self._token):
            raise Refused(
                "the Hub token has characters that no token has",
                code="unauthorised",
                hint="the variable or file of hub.tokenFrom must hold the token alone",
            )
        self.requests = 0
        """Requests made so far, ranges of files included."""
        self.answers = 0
        """Answers that came back, whatever their status."""
        self.requests_left: int | None = None
        """What the Hub's last answer says may still be asked in this window; None where it does not say."""

    def __repr__(self) -> str:
        return f"HubClient({public_url(self.endpoint)})"

    @property
    def has_token(self) -> bool:
        return bool(self._token)

    async def list_models(
        self,
        *,
        search: str | None = None,
        author: str | None = None,
        filters: Iterable[str] = (),
        sort: str | None = None,
        limit: int = _PAGE_ROWS,
        expand: Sequence[str] = (),
    ) -> Listing:
        """At most ``limit`` repositories, over as many pages as that takes (20 at most).

        Args:
            search: words of the name.
            author: one organisation.
            filters: tags that all must be there.
            sort: ``downloads``, ``likes``, ``trendingScore``, ``createdAt``, ``lastModified``.
            limit: rows in all.
            expand: fields to fill in; without it the Hub sends its usual short form.
        """
        query = {"search": search, "author": author, "sort": sort, "limit": str(min(limit, _PAGE_ROWS))}
        pairs = [(key, value) for key, value in query.items() if value]
        pairs += [("filter", each) for each in filters] + [("expand", each) for each in expand]
        repos: list[HubRepo] = []
        notes: list[str] = []
        url: str | None = f"{self.endpoint}/api/models?{urlencode(sorted(pairs))}"
        for _ in range(_MOST_PAGES):
            reply = await self._get(url, "the list of models")
            rows, said = repos_of(reply.json())
            repos += rows
            notes += said
            url = self._next(reply, notes)
            if url is None or len(repos) >= limit:
                break
        return Listing(tuple(repos[:limit]), tuple(notes))

    async def model(self, repo: str, revision: str | None = None, *, expand: Sequence[str] = ()) -> HubRepo:
        """One repository.

        Raises:
            Refused: ``not-found`` (or private: the Hub does not tell them apart), ``unauthorised``, ``gated``; and
                ``not-found`` naming the new name where the repository was renamed, because trust is by name.
            Unreachable, Corrupt: no answer, or not an answer.
        """
        at = f"/revision/{quote(revision, safe='')}" if revision else ""
        query = f"?{urlencode([('expand', each) for each in sorted(expand)])}" if expand else ""
        found = repo_of((await self._get(f"{self._api(repo)}{at}{query}", repo)).json())
        if found.id != repo:
            raise Refused(
                f"{repo} is called {found.id} on the Hub",
                code="not-found",
                hint=f"write {found.id} if that is what you want; trust goes by the organisation's name",
                details={"renamedTo": found.id},
            )
        return found

    async def download_count(self, repo: str) -> int:
        return (await self.model(repo)).downloads

    async def tree(self, repo: str, revision: str) -> Tree:
        """Every file of a repository at a revision, with sizes, and SHA-256 where the Hub has it."""
        url: str | None = f"{self._api(repo)}/tree/{quote(revision, safe='')}?recursive=true"
        files: list[HubFile] = []
        notes: list[str] = []
        for _ in range(_MOST_PAGES):
            reply = await self._get(url, f"the files of {repo}")
            rows, said = files_of(reply.json())
            files += rows
            notes += said
            url = self._next(reply, notes)
            if url is None:
                return Tree(tuple(files), tuple(notes))
        raise Corrupt(f"{repo} has more files than {_MOST_PAGES} pages hold", code="bad-answer")

    async def head(self, repo: str, revision: str, path: str) -> FileHead:
        """What the Hub says of one file; a redirect to where its bytes lie counts as yes and is not followed.

        Raises:
            Refused: ``gated``, ``unauthorised`` or ``not-found``.
        """
        url = self._file(repo, revision, path)
        reply = await self._ask("HEAD", url)
        if reply.status >= 400:
            raise self._error(reply, f"{repo}/{path}")
        size = reply.headers.get("x-linked-size") or ""
        return FileHead(
            commit=commit_of(reply.headers.get("x-repo-commit")),
            bytes=Bytes(int(size)) if size.isascii() and size.isdigit() else None,
            sha256=sha256_of(reply.headers.get("x-linked-etag")),
        )

    async def read_range(self, repo: str, revision: str, path: str, start: int, length: int) -> bytes:
        """``length`` bytes of a file from ``start``; fewer where it ends before.

        A server that ignores ranges is read from the beginning, and left as soon as the bytes are here.
        """
        url = self._file(repo, revision, path)
        wanted = {"Range": f"bytes={start}-{start + length - 1}", "Accept-Encoding": "identity"}
        self.requests += 1
        try:
            async with (
                asyncio.timeout(_RANGE_SECONDS),
                self._http.stream("GET", url, headers=self._headers() | wanted, follow_redirects=True) as stream,
            ):
                if stream.status == 416:
                    return b""
                if stream.status not in {200, 206}:
                    body = await stream.read()
                    raise self._error(Reply(stream.status, stream.headers, body, url), f"{repo}/{path}")
                if stream.status == 200:
                    return (await stream.read(start + length))[start:]
                if not stream.headers.get("content-range", f"bytes {start}-").startswith(f"bytes {start}-"):
                    raise Corrupt(f"{public_url(url)} sent another range than was asked for", code="bad-answer")
                return await stream.read(length)
        except TimeoutError as error:
            raise translate(error, url) from error

    async def gguf_header(self, repo: str, revision: str, file: HubFile, *, dimensions_only: bool) -> GgufHeader:
        """The header of a GGUF file, by ranges of 64 KiB, then 1, 8 and 32 MiB where the facts lie that deep.

        Raises:
            Corrupt: not a GGUF file, or its header is larger than 32 MiB.
        """
        data = b""
        wanted = min(PREFIX_BYTES, file.bytes)
        while True:
            data += await self.read_range(repo, revision, file.path, len(data), wanted - len(data))
            if len(data) < wanted:
                raise Corrupt(f"{repo}/{file.path} ends after {len(data)} bytes of its header", code="bad-answer")
            try:
                header = read_header(data, size=file.bytes, dimensions_only=dimensions_only)
            except ValueError as error:
                raise Corrupt(f"{repo}/{file.path}: {error}", code="bad-answer") from error
            if not isinstance(header, NeedMore):
                return header
            wanted = header.bytes
            if wanted > LARGEST_HEADER_BYTES:
                raise Corrupt(f"the header of {repo}/{file.path} is larger than 32 MiB", code="bad-answer")

    def _api(self, repo: str) -> str:
        return f"{self.endpoint}/api/models/{_checked(repo)}"

    def _file(self, repo: str, revision: str, path: str) -> str:
        return f"{self.endpoint}/{_checked(repo)}/resolve/{quote(revision, safe='')}/{quote(path)}"

    def _headers(self) -> dict[str, str]:
        return {"Accept": "application/json"} | ({"Authorization": f"Bearer {self._token}"} if self._token else {})

    async def _get(self, url: str | None, what: str) -> Reply:
        reply = await self._ask("GET", url or "", follow_redirects="within-host")
        if not reply.ok:
            raise self._error(reply, what)
        return reply

    async def _ask(self, method: str, url: str, *, follow_redirects: bool | Literal["within-host"] = False) -> Reply:
        self.requests += 1
        reply = await self._http.request(method, url, headers=self._headers(), follow_redirects=follow_redirects)
        self.answers += 1
        left = rate_limit(reply.headers)
        self.requests_left = left[0] if left else self.requests_left
        return reply

    def _next(self, reply: Reply, notes: list[str]) -> str | None:
        """The next page, when it is on the same host: the token must not travel further."""
        target = next_page(reply.headers.get("link", ""))
        if target is None:
            return None
        url = urljoin(reply.url, target)
        if urlsplit(url)[:2] == urlsplit(self.endpoint)[:2]:
            return url
        notes.append(f"the Hub's next page is on another host ({public_url(url)}) and was not asked for")
        return None

    def _error(self, reply: Reply, what: str) -> OutsideError:
        return error_of(reply, what, endpoint=self.endpoint, token=self._token)


def _checked(repo: str) -> str:
    try:
        split_repo(repo)
    except ValueError as error:
        raise Refused(str(error), code="not-found") from error
    return repo


def error_of(reply: Reply, what: str, *, endpoint: str, token: str = "") -> OutsideError:
    """Our error for an answer that is not 2xx. The origin's codes: HF_NOT_FOUND is ``not-found``, HF_UNAUTHORIZED
    ``unauthorised`` or ``gated``, HF_UNAVAILABLE ``rate-limited`` or ``unreachable``, HF_NETWORK what ``http`` says,
    HF_PARSE ``bad-answer``.

    Source:
        ``X-Error-Code`` and ``X-Error-Message`` of huggingface.co as of August 2026.
    """
    code = reply.headers.get("x-error-code", "")
    said = reply.headers.get("x-error-message") or reply.body[:200].decode("utf-8", "replace")
    text = f"{public_url(endpoint)} answers {reply.status} for {what}: {said.strip() or 'no reason given'}"
    text = "".join(letter if letter.isprintable() else " " for letter in text)
    text = text.replace(token, "***") if token else text
    details = {"status": reply.status, "url": public_url(reply.url), "errorCode": code}
    if "access to this resource is disabled" in said.lower():
        return Refused(text, code="not-installable", details=details)
    if code == "GatedRepo":
        hint = "accept its licence on the Hub" + ("" if token else ", and name a token in hub.tokenFrom or HF_TOKEN")
        return Refused(text, code="gated", hint=hint, details=details)
    if code in {"RepoNotFound", "RevisionNotFound", "EntryNotFound"} or reply.status == 404:
        hint = "check the spelling; a private repository looks the same and needs a token that may read it"
        return Refused(text, code="not-found", hint=hint, details=details)
    if reply.status in {401, 403}:
        hint = "the Hub does not accept this token" if token else "name a token in hub.tokenFrom or HF_TOKEN"
        return Refused(text, code="unauthorised", hint=hint, details=details)
    wait = retry_after_seconds(reply.headers)
    kind = "rate-limited" if reply.status == 429 else "unreachable"
    return Unreachable(text, code=kind, details=details, retry_after_seconds=wait)
