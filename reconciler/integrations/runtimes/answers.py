"""What a server answered, in our words: an object, a count, nonsense, or a no in the server's own words.

An answer that is not whole is ``Corrupt`` with the code ``bad-answer``, never an empty one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from reconciler.errors import Corrupt, OutsideError, Refused, Unreachable
from reconciler.formats.foreign_json import read_json

if TYPE_CHECKING:
    from reconciler.integrations.http import Reply

_MOST_WORDS = 200
"""Characters of a server's own words that a person is shown."""


def mapping(reply: Reply) -> Mapping[str, Any]:
    """The object that was answered, or ``Corrupt``."""
    document = reply.json()
    if not isinstance(document, dict):
        raise bad_answer(reply, "it is not an object")
    return document


def items(reply: Reply, key: str, *, called: str | None = None) -> list[Mapping[str, Any]]:
    """The whole list of objects under a key of the object that was answered, or ``Corrupt``."""
    found = mapping(reply).get(key)
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise bad_answer(reply, f"no whole list of {called or key} in it")
    return found


def count(value: object) -> int | None:
    """A whole number of at least 0, or None."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        return None
    return value


def bad_answer(reply: Reply, why: str) -> Corrupt:
    """The error for an answer that is none."""
    return Corrupt(f"{reply.url} answered something else: {why}", code="bad-answer", details={"url": reply.url})


def failed(reply: Reply, what: str, words: str | None = None) -> OutsideError:
    """The error for an answer that says no.

    Args:
        reply: the answer.
        what: what cannot be done then.
        words: the server's own, where it says them in a way of its own.
    """
    return status_error(reply.status, reply.url, server_words(reply.body) if words is None else words, what)


def status_error(status: int, url: str, words: str, what: str) -> OutsideError:
    """As ``failed``, where only the beginning of an answer was read."""
    message = f"{what}: {url} answered {status}: {words}".rstrip(": ")
    details = {"url": url, "status": status}
    if status >= 500 or status in (408, 429):
        return Unreachable(message, details=details)
    if status in (401, 403):
        return Refused(message, code="unauthorised", details=details)
    return Refused(message, code="not-found" if status == 404 else "refused", details=details)


def server_words(body: bytes) -> str:
    """What the server says went wrong: ``error`` or ``error.message`` of its answer, else the answer as it is."""
    try:
        document = read_json(body)
    except (ValueError, RecursionError):
        document = None
    error = document.get("error") if isinstance(document, dict) else None
    words = error.get("message") if isinstance(error, dict) else error
    if isinstance(words, str):
        return words[:_MOST_WORDS]
    return body[:_MOST_WORDS].decode("utf-8", "replace").strip()
