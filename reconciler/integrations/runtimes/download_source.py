"""Where one file comes from: what a request for a part of it says, and whether an answer is what was promised.

What decides in the end is the digest: a redirect may lead anywhere, because wrong content cannot get through. A secret
goes to its own origin only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from reconciler.errors import Corrupt, Refused, Unreachable
from reconciler.integrations.pauses import retry_after_seconds
from reconciler.integrations.runtimes.partials import Wanted
from reconciler.ports import Clock

if TYPE_CHECKING:
    from reconciler.integrations.http import Stream

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_LATER = frozenset({408, 421, 425, 429, 500, 502, 503, 504, 507, 520, 521, 522, 523, 524, 529})
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_REFUSALS = {
    "GatedRepo": ("gated", "accept the licence on the model's page and set a token (hub.tokenFrom)"),
    "RepoNotFound": ("not-found", "check the repository's name; a private one needs a token (hub.tokenFrom)"),
    "EntryNotFound": ("not-found", "the file is no longer in the repository: run plan again"),
    "RevisionNotFound": ("not-found", "the commit is no longer there: run plan again"),
}


@dataclass(slots=True)
class Segment:
    """What one request asks for: bytes from ``at`` to before ``end``."""

    at: int
    end: int


class StartOver(Exception):
    """The source sends other content than before, or no ranges."""

    def __init__(self, *, single: bool) -> None:
        self.single = single


class Source:
    """The source of one file, and what is known of it by now.

    Args:
        wanted: the file, and what was promised of it.
        clock: reads delays that are given as a date.
        token: sent as a bearer token to the origin of ``token_origin`` only.
        token_origin: URL whose scheme, host and port may see the token.
    """

    def __init__(self, wanted: Wanted, *, clock: Clock, token: str | None, token_origin: str) -> None:
        self._wanted = wanted
        self._clock = clock
        self._token = token
        self._token_origin = _origin(token_origin)
        self._location: str | None = None
        self._etags: dict[str, str] = {}
        self.is_single = False
        """It honours no ranges: everything comes in one stream."""

    @property
    def url(self) -> str:
        """Where the last good answer came from, else where the file is known to be."""
        return self._location or self._wanted.url

    def forget_place(self) -> None:
        """The last good answer's place may have expired: begin where the file is known to be."""
        self._location = None

    def start_over(self, *, single: bool) -> None:
        """Its content is another one by now, or it honours no ranges."""
        self.is_single = self.is_single or single
        self._etags.clear()

    def headers(self, url: str, segment: Segment) -> dict[str, str]:
        """Of a request for what is left of a segment."""
        headers = {"Accept-Encoding": "identity"}
        if not self.is_single:
            headers["Range"] = f"bytes={segment.at}-{segment.end - 1}"
            if etag := self._etags.get(place_of(url)):
                headers["If-Range"] = etag
        if self._token and _origin(url) == self._token_origin:
            headers["Authorization"] = f"Bearer {self._token}"
        return headers

    def redirect(self, answer: Stream, url: str) -> str | None:
        """Where an answer leads to; None where it is the answer.

        Raises:
            Corrupt: the source says already that its content is another one. Refused: it leads where nobody follows.
        """
        self._check_promise(answer, url)
        return _redirected(answer, url) if answer.status in _REDIRECTS else None

    def check(self, answer: Stream, url: str, segment: Segment, *, conditional: bool) -> None:
        """Whether what follows is the very part that was asked for, of the content seen before.

        Args:
            answer: its head.
            url: who answered.
            segment: what was asked for.
            conditional: it was asked for only in case the content is still the same.

        Raises:
            StartOver: it is not, and everything has to come again. Unreachable: not now. Refused, Corrupt: never.
        """
        self._check_status(answer, url)
        self._check_extent(answer, url, segment, conditional=conditional)
        self._location = url

    def _check_promise(self, answer: Stream, url: str) -> None:
        """The Hub states the content's digest beside the file: another one need not be fetched to be refused."""
        linked = answer.headers.get("x-linked-etag", "").removeprefix("W/").strip('"').lower()
        at_source = _origin(url) == _origin(self._wanted.url)
        if at_source and _SHA256.fullmatch(linked) and linked != self._wanted.sha256:
            raise Corrupt(
                f"{self._wanted.name}: the source now offers other content under this name",
                code="content-changed",
                hint="run plan again",
                details={"expected": self._wanted.sha256, "found": linked},
            )

    def _check_status(self, answer: Stream, url: str) -> None:
        status = answer.status
        if status in (200, 206):
            return
        place = place_of(url)
        at_source = _origin(url) == _origin(self._wanted.url)
        if status == 416:
            raise Corrupt(f"{place}: the file is shorter than {self._wanted.size} bytes", code="wrong-length")
        if status in _LATER or not at_source:
            raise Unreachable(
                f"{place} answered {status}",
                code="rate-limited" if status == 429 else "server-error",
                details={"url": place, "status": status},
                retry_after_seconds=retry_after_seconds(answer.headers, self._clock.now()),
            )
        code, hint = _REFUSALS.get(answer.headers.get("x-error-code", ""), _by_status(status))
        raise Refused(f"{place} answered {status}", code=code, hint=hint, details={"url": place, "status": status})

    def _check_extent(self, answer: Stream, url: str, segment: Segment, *, conditional: bool) -> None:
        """Whether the body is the very range asked for, of the very content seen before."""
        if answer.headers.get("content-encoding", "identity").lower() not in ("identity", ""):
            raise Refused(f"{place_of(url)} sends the file compressed, which cannot be resumed", code="bad-answer")
        if answer.status == 200:
            if not self.is_single and (conditional or (segment.at, segment.end) != (0, self._wanted.size)):
                raise StartOver(single=not conditional)
            self._check_length(answer.headers.get("content-length"), url)
            return
        match = _CONTENT_RANGE.match(answer.headers.get("content-range", ""))
        if match is None or int(match[1]) != segment.at:
            raise StartOver(single=True)
        self._check_length(match[3] if match[3] != "*" else None, url)
        etag = answer.headers.get("etag", "")
        if etag and not etag.startswith("W/") and self._etags.setdefault(place_of(url), etag) != etag:
            raise StartOver(single=False)

    def _check_length(self, stated: str | None, url: str) -> None:
        if stated is not None and stated != str(self._wanted.size):
            raise Corrupt(
                f"{place_of(url)}: {stated} bytes offered, {self._wanted.size} promised; nothing of it is kept",
                code="wrong-length",
                hint="run plan again",
            )


def _by_status(status: int) -> tuple[str, str]:
    if status in (401, 403):
        return "unauthorised", "the source wants a token that may read this (hub.tokenFrom)"
    if status in (404, 410):
        return "not-found", "the file is not there any more: run plan again"
    return "refused", "look at the source in a browser"


def _redirected(answer: Stream, url: str) -> str:
    """The next URL. Another host is fine (the digest decides), another scheme than the web's is not."""
    target = urljoin(url, answer.headers.get("location", ""))
    scheme = urlsplit(target).scheme
    downgrade = urlsplit(url).scheme == "https" and scheme == "http"
    if scheme not in ("http", "https") or downgrade or target == url:
        raise Refused(f"{place_of(url)} redirects to {place_of(target)}, which is not followed", code="bad-redirect")
    return target


def _origin(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port: what may see a secret."""
    try:
        parts = urlsplit(url)
        return parts.scheme, (parts.hostname or "").lower(), parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return "", url, None


def place_of(url: str) -> str:
    """A URL as it may be shown: its query may hold a signature."""
    return url.partition("?")[0]
