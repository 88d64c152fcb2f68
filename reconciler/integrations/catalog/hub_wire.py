"""What a Hub sends, as values of our own; what does not have the promised shape is ``Corrupt``.

Read against huggingface.co as of August 2026 and its mirrors.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from reconciler.domain.families import normalise_license
from reconciler.domain.units import Bytes
from reconciler.errors import Corrupt
from reconciler.formats.gguf import GgufHeader, capabilities_of

_SHA256 = re.compile(r"[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_NEXT = re.compile(r'<([^<>]*)>\s*(?:;[^,<]*)?;\s*rel="?next"?', re.IGNORECASE)
_UNSAFE_PATH = re.compile(r"[\x00-\x1f\x7f\\]|^/|(?:^|/)\.{0,2}(?:/|$)")


@dataclass(frozen=True, slots=True)
class HubRepo:
    """One model repository, as a list or a detail answer describes it."""

    id: str
    author: str | None
    """As given, else the text before the slash."""
    commit: str | None
    downloads: int = 0
    likes: int = 0
    tags: tuple[str, ...] = ()
    created: date | None = None
    last_modified: str | None = None
    license: str | None = None
    """Normalised slug."""
    gated: bool = False
    disabled: bool = False
    quantized_from: str | None = None
    """The one model it says it packages; None where it names none, several, or says that it changed the weights."""
    pipeline: str | None = None
    files: tuple[str, ...] = ()
    weights: int | None = None
    """``gguf.total``: weights of one representative file, not bytes."""
    architecture: str | None = None
    context_length: int | None = None
    capabilities: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Claimed by the chat template and the tags, each with who claims it."""

    @property
    def organisation(self) -> str:
        return self.id.partition("/")[0]

    @property
    def is_gguf(self) -> bool:
        return "gguf" in self.tags or any(path.lower().endswith(".gguf") for path in self.files)


@dataclass(frozen=True, slots=True)
class HubFile:
    """One file of a repository at one commit."""

    path: str
    bytes: Bytes
    sha256: str | None
    """Of the content; None for a file that is not stored as LFS."""


def repo_of(row: object) -> HubRepo:
    """One row of a list, or a detail answer.

    Raises:
        Corrupt: not an object, or without an id.
    """
    if not isinstance(row, Mapping):
        raise Corrupt(f"the Hub sent a {type(row).__name__} where a model belongs", code="bad-answer")
    identity = _text(row.get("id")) or _text(row.get("modelId"))
    if not identity:
        raise Corrupt("the Hub sent a model without an id", code="bad-answer")
    gguf = _object(row.get("gguf"))
    tags = _texts(row.get("tags"))
    return HubRepo(
        id=identity,
        author=_text(row.get("author")) or (identity.partition("/")[0] if "/" in identity[1:] else None),
        commit=commit_of(row.get("sha")),
        downloads=_count(row.get("downloads")) or 0,
        likes=_count(row.get("likes")) or 0,
        tags=tags,
        created=_day(row.get("createdAt")),
        last_modified=_text(row.get("lastModified")),
        license=_license(row, tags),
        gated=row.get("gated") is True or _text(row.get("gated")) in {"auto", "manual"},
        disabled=row.get("disabled") is True,
        quantized_from=_quantized_from(row, tags),
        pipeline=_text(row.get("pipeline_tag")),
        files=_paths(row.get("siblings")),
        weights=_count(gguf.get("total")),
        architecture=_text(gguf.get("architecture")),
        context_length=_count(gguf.get("context_length")),
        capabilities=_capabilities(_text(gguf.get("chat_template")), tags, _text(row.get("pipeline_tag"))),
    )


def repos_of(body: object) -> tuple[tuple[HubRepo, ...], tuple[str, ...]]:
    """(repositories, notes) of a list answer: a malformed row costs itself, not the list.

    Raises:
        Corrupt: not a list.
    """
    if not isinstance(body, list):
        raise Corrupt(f"the Hub sent a {type(body).__name__} where a list belongs", code="bad-answer")
    repos: list[HubRepo] = []
    bad = 0
    for row in body:
        try:
            repos.append(repo_of(row))
        except Corrupt:
            bad += 1
    notes = (f"{bad} of {len(body)} rows of the Hub's list could not be read and were left out",) if bad else ()
    return tuple(repos), notes


def files_of(body: object) -> tuple[tuple[HubFile, ...], tuple[str, ...]]:
    """(files, notes) of a tree answer. A path that would lead out of the repository is left out.

    Raises:
        Corrupt: not a list.
    """
    if not isinstance(body, list):
        raise Corrupt(f"the Hub sent a {type(body).__name__} where a list of files belongs", code="bad-answer")
    files: list[HubFile] = []
    bad = 0
    for row in body:
        entry = _object(row)
        if entry.get("type") == "directory":
            continue
        lfs = _object(entry.get("lfs"))
        path, size = _text(entry.get("path")), _count(lfs.get("size", entry.get("size")))
        if path is None or size is None or not is_safe_path(path):
            bad += 1
            continue
        files.append(HubFile(path, Bytes(size), sha256_of(lfs.get("oid", lfs.get("sha256")))))
    return tuple(files), ((f"{bad} files of the Hub's list could not be read and were left out",) if bad else ())


def is_safe_path(path: str) -> bool:
    """Whether a repository path stays inside its repository on every system.

    >>> is_safe_path("Q4/a.gguf"), is_safe_path("../a.gguf"), is_safe_path("a//b"), is_safe_path("/a")
    (True, False, False, False)
    """
    return bool(path) and not _UNSAFE_PATH.search(path)


def sha256_of(value: object) -> str | None:
    """A hex SHA-256, quotes and an algorithm prefix taken off; None for anything else."""
    text = (_text(value) or "").strip('"').removeprefix("sha256:").lower()
    return text if _SHA256.fullmatch(text) else None


def commit_of(value: object) -> str | None:
    text = _text(value) or ""
    return text if _COMMIT.fullmatch(text) else None


def next_page(link: str) -> str | None:
    """Where a ``Link`` header says the next page is.

    >>> next_page('<https://hub.example/api/models?cursor=a%3D>; rel="next"')
    'https://hub.example/api/models?cursor=a%3D'
    """
    found = _NEXT.search(link)
    return found[1] if found else None


def _quantized_from(row: Mapping[str, Any], tags: Iterable[str]) -> str | None:
    """The packaged model: stated as quantized, or stated without a relation. A fine-tune packages nobody's model."""
    plain: set[str] = set()
    related: dict[str, set[str]] = {}
    for tag in tags:
        kind, _, rest = tag.partition(":")
        if kind == "base_model" and rest:
            said, colon, identity = rest.partition(":")
            (related.setdefault(said, set()) if colon else plain).add(identity if colon else rest)
    card = _object(row.get("cardData"))
    stated = card.get("base_model")
    plain.update(_texts(stated if isinstance(stated, list) else [stated]))
    relation = _text(card.get("base_model_relation"))
    if relation:
        related.setdefault(relation, set()).update(plain)
    if set(related) - {"quantized"}:
        return None
    bases = related.get("quantized") or plain
    return next(iter(bases)) if len(bases) == 1 else None


def _capabilities(
    template: str | None, tags: Iterable[str], pipeline: str | None
) -> tuple[tuple[str, tuple[str, ...]], ...]:
    claims: dict[str, tuple[str, ...]] = {}
    if template:
        header = GgufHeader(3, 0, {"tokenizer.chat_template": True}, {}, None, (template,))
        claims.update(dict(capabilities_of(header)))
    if pipeline == "image-text-to-text":
        claims["vision"] = ("hub-tags",)
    if pipeline in {"feature-extraction", "sentence-similarity"} or {"sentence-similarity"} & set(tags):
        claims["embedding"] = ("hub-tags",)
    return tuple(sorted(claims.items()))


def _license(row: Mapping[str, Any], tags: Iterable[str]) -> str | None:
    card = _object(row.get("cardData"))
    tagged = next((tag.partition(":")[2] for tag in tags if tag.startswith("license:")), None)
    stated = _text(row.get("license")) or _text(card.get("license")) or tagged
    if stated == "other":
        stated = _text(card.get("license_name")) or stated
    return normalise_license(stated) if stated else None


def _paths(siblings: object) -> tuple[str, ...]:
    rows = siblings if isinstance(siblings, list) else []
    return tuple(path for row in rows if (path := _text(_object(row).get("rfilename"))))


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _texts(value: object) -> tuple[str, ...]:
    return tuple(each for each in value if isinstance(each, str) and each) if isinstance(value, list) else ()


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _day(value: object) -> date | None:
    try:
        return date.fromisoformat((_text(value) or "")[:10])
    except ValueError:
        return None
