"""An adapter that is named by its repository on the Hub, in any of the spellings that people paste."""

from __future__ import annotations

import re
from dataclasses import dataclass

_PART = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_FRONT = re.compile(r"(?:(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/|hf://|hf:)", re.IGNORECASE)
_PAGE = re.compile(rf"({_PART}/{_PART})(?:/(?:tree|blob|resolve)/([^/@?#]+)(?:/[^?#]*)?)?/?(?:[?#].*)?")
_PLAIN = re.compile(rf"({_PART}/{_PART})(?:@([^@\s,]+))?")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:(?://)?[^\s]")


@dataclass(frozen=True, slots=True)
class HubReference:
    """A repository, and the revision of it that is meant."""

    repository: str
    revision: str | None = None
    """None: nobody said; the newest."""

    @property
    def name(self) -> str:
        """What an adapter of it is called where nobody says."""
        return self.repository.rpartition("/")[2]

    @property
    def download(self) -> str:
        """The command that brings it to this machine."""
        at = f" --revision {self.revision}" if self.revision else ""
        return f"hf download {self.repository}{at} --local-dir {self.name}"


def hub_reference(text: str) -> HubReference | None:
    """The repository that is named; None: none is.

    >>> hub_reference("acme/sql@v1")
    HubReference(repository='acme/sql', revision='v1')
    >>> hub_reference("https://huggingface.co/acme/sql/tree/main") == hub_reference("hf:acme/sql@main")
    True
    """
    named = text.strip()
    front = _FRONT.match(named)
    rest = named[front.end() :] if front else named
    found = _PLAIN.fullmatch(rest) or (_PAGE.fullmatch(rest) if front else None)
    return HubReference(found[1], found[2]) if found else None


def is_address(text: str) -> bool:
    """Written with a scheme, as no path and no repository is.

    >>> is_address("s3://bucket/sql"), is_address("acme/sql")
    (True, False)
    """
    return _SCHEME.match(text.strip()) is not None
