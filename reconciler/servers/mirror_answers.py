"""What a mirror says: the JSON of the Hub's model API, and which bytes of a file a request means. No sockets here.

Source:
    huggingface.co as of August 2026: list, detail, refs, tree, resolve; error codes in ``X-Error-Code``.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, parse_qsl, unquote, urlencode, urlsplit

from reconciler.formats import gguf, gguf_names
from reconciler.servers.mirror_index import LooseFile, MirrorIndex, SharedFile, SharedRepo

MOST_ROWS = 1000
_LARGEST_CARD_BYTES = 256 * 2**10
_LARGEST_HEADER_BYTES = 32 * 2**20
_RANGE = re.compile(r"bytes=(\d{0,19})-(\d{0,19})")
_LISTED = ("_id", "id", "modelId", "author", "private", "gated", "downloads", "likes", "tags", "createdAt",
           "lastModified", "pipeline_tag")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, headers, and either a small body or a file of which ``span`` is sent."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    file: SharedFile | None = None
    span: tuple[int, int] = (0, 0)
    """Half-open, in bytes."""


def answer(index: MirrorIndex, target: str, headers: Mapping[str, str], base_url: str) -> Answer:
    """The answer to ``GET target``; a ``HEAD`` is the same without its body.

    Args:
        index: what is offered.
        target: path and query as they came.
        headers: of the request; names in lower case.
        base_url: of this mirror, for links to further pages.
    """
    parts = urlsplit(target)
    words = [unquote(word) for word in parts.path.split("/")[1:]]
    query = parse_qs(parts.query, keep_blank_values=True, max_num_fields=100)
    if words == ["api", "models"]:
        return _list(index, parts.query, query, base_url)
    if words[:2] == ["api", "models"] and len(words) >= 4:
        return _described(index, "/".join(words[2:4]), words[4:], query)
    if len(words) >= 5 and words[2] == "resolve":
        return _resolved(index, "/".join(words[:2]), words[3], "/".join(words[4:]), headers)
    if words == [""]:
        return Answer(200, {"Content-Type": "text/plain; charset=utf-8"}, b"localmodels mirror: see /api/models\n")
    return error(404, "", "there is no such page on this mirror")


def error(status: int, code: str, text: str, headers: Mapping[str, str] | None = None) -> Answer:
    """A refusal as the Hub words it: the code in a header, the text in both."""
    named = {"X-Error-Code": code} if code else {}
    return _json({"error": text}, {**named, "X-Error-Message": text, **(headers or {})}, status)


def _json(value: object, headers: Mapping[str, str] | None = None, status: int = 200) -> Answer:
    body = json.dumps(value).encode()
    return Answer(status, {"Content-Type": "application/json; charset=utf-8", **(headers or {})}, body)


# ----------------------------------------------------------------------------------------------------- list, detail


def _list(index: MirrorIndex, raw: str, query: Mapping[str, list[str]], base_url: str) -> Answer:
    wanted = {tag for value in query.get("filter", []) for tag in value.split(",") if tag}
    search = [word.lower() for value in query.get("search", []) for word in value.split()]
    authors = query.get("author", [])
    found = []
    for name in index.names():
        if all(word in name.lower() for word in search) and (not authors or name.partition("/")[0] in authors):
            row = _facts(name, index.look(name))
            if wanted <= set(row["tags"]):
                found.append(row)
    newest_first = query.get("sort", [""])[0] in ("lastModified", "createdAt", "trendingScore")
    found.sort(key=lambda row: (row["lastModified"] if newest_first else "", row["id"]), reverse=newest_first)
    start, limit = _whole(query, "cursor", 0), min(_whole(query, "limit", MOST_ROWS), MOST_ROWS)
    rows = [_shown(index, row, query) for row in found[start : start + limit]]
    headers = {}
    if limit and start + limit < len(found):
        pairs = [(key, value) for key, value in parse_qsl(raw, keep_blank_values=True) if key != "cursor"]
        following = urlencode([*pairs, ("cursor", str(start + limit))])
        headers["Link"] = f'<{base_url}/api/models?{following}>; rel="next"'
    return _json(rows, headers)


def _whole(query: Mapping[str, list[str]], key: str, default: int) -> int:
    text = query.get(key, [""])[0]
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else default


def _shown(index: MirrorIndex, row: dict[str, Any], query: Mapping[str, list[str]]) -> dict[str, Any]:
    expanded = [*query.get("expand", []), *query.get("expand[]", [])]
    full = any(query.get(key, ["false"])[0].lower() not in ("false", "0") for key in ("full", "config"))
    if not (expanded or full):
        return {key: row[key] for key in _LISTED}
    whole = row | (_detail(repo) if (repo := index.repo(row["id"])) else {})
    return {key: whole[key] for key in ("id", *expanded) if key in whole} if expanded else whole


def _described(index: MirrorIndex, name: str, rest: list[str], query: Mapping[str, list[str]]) -> Answer:
    repo = index.repo(name)
    if repo is None:
        return error(404, "RepoNotFound", f"Repository {name} is not on this mirror")
    if rest == ["refs"]:
        heads = [{"name": "main", "ref": "refs/heads/main", "targetCommit": repo.commit}]
        return _json({"branches": heads, "converts": [], "tags": []})
    if not rest or (len(rest) == 2 and rest[0] in ("revision", "tree")) or rest[:1] == ["tree"]:
        revision = rest[1] if len(rest) > 1 else "main"
        if not _is_now(repo, revision):
            return _no_revision(repo, revision)
        if rest[:1] == ["tree"]:
            return _tree(repo, "/".join(rest[2:]).strip("/"), query)
        blobs = query.get("blobs", ["false"])[0].lower() not in ("false", "0")
        return _json(_facts(name, index.look(name)) | _detail(repo, blobs=blobs))
    return error(404, "", "there is no such page on this mirror")


def _is_now(repo: SharedRepo, revision: str) -> bool:
    return revision in ("main", repo.commit)


def _no_revision(repo: SharedRepo, revision: str) -> Answer:
    return error(404, "RevisionNotFound", f"{repo.id} has no revision {revision[:80]!a} here; only main, {repo.commit}")


def _detail(repo: SharedRepo, *, blobs: bool = False) -> dict[str, Any]:
    siblings = [{"rfilename": file.path, **(_blob(file) if blobs else {})} for file in repo.files]
    model = next((file.loose for file in repo.files if _is_model(file.path)), None)
    facts = _header_facts(model.place, model.stamp) if model else {}
    return {
        "sha": repo.commit,
        "siblings": siblings,
        "usedStorage": sum(file.bytes for file in repo.files),
        **({"gguf": facts} if facts else {}),
    }


def _blob(file: SharedFile) -> dict[str, Any]:
    lfs = {"sha256": file.sha256, "size": file.bytes, "pointerSize": 135}
    return {"size": file.bytes, "blobId": file.oid, "lfs": lfs}


def _tree(repo: SharedRepo, below: str, query: Mapping[str, list[str]]) -> Answer:
    recursive = query.get("recursive", ["false"])[0].lower() in ("true", "1")
    prefix = f"{below}/" if below else ""
    inside = [file for file in repo.files if file.path.startswith(prefix)]
    if below and not inside:
        return error(404, "EntryNotFound", f"{below[:200]!a} is not a folder of {repo.id}")
    folders: set[str] = set()
    rows: list[dict[str, Any]] = []
    for file in inside:
        steps = file.path.removeprefix(prefix).split("/")[:-1]
        folders.update(
            prefix + "/".join(steps[: depth + 1]) for depth in range(len(steps) if recursive else 1) if steps
        )
        if recursive or not steps:
            lfs = {"oid": file.sha256, "size": file.bytes, "pointerSize": 135}
            rows.append({"type": "file", "oid": file.oid, "size": file.bytes, "path": file.path, "lfs": lfs})
    rows += [
        {"type": "directory", "oid": hashlib.sha256(folder.encode()).hexdigest()[:40], "size": 0, "path": folder}
        for folder in folders
    ]
    return _json(sorted(rows, key=lambda row: str(row["path"])))


# ------------------------------------------------------------------------------------------------- what a repo says


def _facts(name: str, files: Iterable[LooseFile]) -> dict[str, Any]:
    """What is known of a repository without reading its files whole."""
    files = tuple(files)
    modified = datetime.fromtimestamp(max((file.modified for file in files), default=0.0), UTC)
    moment = modified.strftime("%Y-%m-%dT%H:%M:%S.000Z")
    card = next((_card(file.place, file.stamp) for file in files if file.path == "README.md"), {})
    return {
        "_id": hashlib.sha256(name.encode()).hexdigest()[:24],
        "id": name,
        "modelId": name,
        "author": name.partition("/")[0],
        "private": False,
        "gated": False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": _tags(files, card),
        "createdAt": moment,
        "lastModified": moment,
        "pipeline_tag": card.get("pipeline_tag"),
        **({"cardData": card} if card else {}),
    }


def _tags(files: tuple[LooseFile, ...], card: Mapping[str, Any]) -> list[str]:
    """The tags a Hub would derive: formats from file names, the rest from the model card."""
    endings = {".gguf": "gguf", ".safetensors": "safetensors"}
    tags = {tag for file in files for ending, tag in endings.items() if file.path.lower().endswith(ending)}
    tags.update(_texts(card.get("tags")))
    tags.update(f"license:{each}" for each in _texts(card.get("license")))
    relation = next(iter(_texts(card.get("base_model_relation"))), "quantized" if "gguf" in tags else "")
    for base in _texts(card.get("base_model")):
        tags.update((f"base_model:{base}", *((f"base_model:{relation}:{base}",) if relation else ())))
    return sorted(tags)


def _texts(value: object) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    return tuple(each for each in values if isinstance(each, str) and each)


@lru_cache(maxsize=512)
def _card(place: Path, stamp: str) -> dict[str, Any]:
    """The front matter of a model card, as far as JSON can hold it; empty where there is none."""
    import yaml

    del stamp  # part of the key only
    try:
        with place.open("rb") as file:
            text = file.read(_LARGEST_CARD_BYTES).decode("utf-8", "replace")
        front = re.match(r"---\s*\n(.*?)\n---\s*(?:\n|$)", text, re.DOTALL)
        if front is None or "&" in front[1]:  # an alias bomb needs an anchor
            return {}
        card = json.loads(json.dumps(yaml.safe_load(front[1]), default=str))
    except (OSError, ValueError, TypeError, RecursionError, yaml.YAMLError):
        return {}
    return card if isinstance(card, dict) else {}


def _is_model(path: str) -> bool:
    name = gguf_names.parse(path)
    return name.is_gguf and name.role == "model" and name.shard in (None, 1)


@lru_cache(maxsize=512)
def _header_facts(place: Path, stamp: str) -> dict[str, Any]:
    """``gguf`` of a detail answer, from the header of one representative file; empty where it cannot be read."""
    del stamp  # part of the key only
    try:
        size = place.stat().st_size
        with place.open("rb") as file:
            data = file.read(gguf.PREFIX_BYTES)
            header = gguf.read_header(data, size=size)
            while isinstance(header, gguf.NeedMore) and header.bytes <= _LARGEST_HEADER_BYTES:
                more = file.read(header.bytes - len(data))
                if not more:
                    return {}
                data += more
                header = gguf.read_header(data, size=size)
        if isinstance(header, gguf.NeedMore):
            return {}
        tensors = gguf.read_tensors(data, header, size=size)
    except (OSError, ValueError):
        return {}
    total = None if isinstance(tensors, gguf.NeedMore) else gguf.weights_of(tensors, header).params
    facts = {
        "total": total,
        "architecture": header.architecture,
        "context_length": header.context_length,
        "chat_template": next(iter(header.templates), None),
    }
    return {key: value for key, value in facts.items() if value is not None}


# ------------------------------------------------------------------------------------------------------------ files


def _resolved(index: MirrorIndex, name: str, revision: str, path: str, headers: Mapping[str, str]) -> Answer:
    repo = index.repo(name)
    if repo is None:
        return error(404, "RepoNotFound", f"Repository {name[:200]!a} is not on this mirror")
    if not _is_now(repo, revision):
        return _no_revision(repo, revision)
    file = repo.file(path)
    about = {"X-Repo-Commit": repo.commit}
    if file is None:
        return error(404, "EntryNotFound", f"{path[:200]!a} is not in {repo.id}", about)
    etag = f'"{file.sha256}"'
    about |= {"ETag": etag, "X-Linked-Etag": etag, "X-Linked-Size": str(file.bytes), "Accept-Ranges": "bytes"}
    about["Content-Type"] = "application/octet-stream"
    if headers.get("if-none-match", "").strip() == etag:
        return Answer(304, about)
    wanted = headers.get("range") if headers.get("if-range", etag).strip() == etag else None
    span = span_of(wanted, file.bytes)
    if span == "nothing":
        return Answer(416, {**about, "Content-Range": f"bytes */{file.bytes}"})
    if span == "whole":
        return Answer(200, about, file=file, span=(0, file.bytes))
    return Answer(206, {**about, "Content-Range": f"bytes {span[0]}-{span[1] - 1}/{file.bytes}"}, file=file, span=span)


def span_of(header: str | None, size: int) -> tuple[int, int] | Literal["whole", "nothing"]:
    """The half-open span a ``Range`` header means.

    Several ranges, other units and nonsense mean the whole file, as RFC 9110 section 14.2 allows; a range that holds
    no byte of the file means nothing.

    >>> span_of("bytes=0-3", 10), span_of("bytes=8-", 10), span_of("bytes=-4", 10), span_of("bytes=10-", 10)
    ((0, 4), (8, 10), (6, 10), 'nothing')
    """
    match = _RANGE.fullmatch((header or "").strip())
    if match is None or match[0] == "bytes=-" or (match[1] and match[2] and int(match[2]) < int(match[1])):
        return "whole"
    if match[1]:
        start, end = int(match[1]), min(int(match[2]) + 1 if match[2] else size, size)
    else:
        start, end = max(0, size - int(match[2])), size
    return (start, end) if start < end else "nothing"
