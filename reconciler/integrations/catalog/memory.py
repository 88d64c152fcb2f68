"""What of the Hub's answers is remembered, under which key, and how it is read back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from reconciler.integrations.catalog.discovery import Find, HeaderFacts, Learnt
from reconciler.integrations.catalog.hub_cache import Entry, HubCache
from reconciler.integrations.catalog.hub_wire import HubFile, HubRepo

T = TypeVar("T")

_REPOS: TypeAdapter[tuple[HubRepo, ...]] = TypeAdapter(tuple[HubRepo, ...], config={"defer_build": True})
_FILES: TypeAdapter[tuple[HubFile, ...]] = TypeAdapter(tuple[HubFile, ...], config={"defer_build": True})
_FACTS: TypeAdapter[HeaderFacts] = TypeAdapter(HeaderFacts, config={"defer_build": True})
_REPO: TypeAdapter[HubRepo] = TypeAdapter(HubRepo, config={"defer_build": True})


@dataclass(frozen=True, slots=True)
class Listed:
    """What one organisation offers, as it was last heard."""

    repos: tuple[HubRepo, ...]
    entry: Entry


class Memory:
    """The cache, for one Hub. Trees and headers belong to a commit, so their age says nothing against them.

    Args:
        cache: on disk.
        endpoint: of the Hub; answers of another one are never mixed in.
    """

    def __init__(self, cache: HubCache, endpoint: str) -> None:
        self.cache = cache
        self._endpoint = endpoint

    def listed(self, organisation: str) -> Listed | None:
        entry = self.cache.get(self._key("list", organisation))
        repos = None if entry is None else _read(_REPOS, entry.value)
        return None if entry is None or repos is None else Listed(repos, entry)

    def keep_list(self, organisation: str, repos: Iterable[HubRepo]) -> None:
        self.cache.set(self._key("list", organisation), _REPOS.dump_python(tuple(repos), mode="json"))

    def tree(self, repo: HubRepo) -> tuple[HubFile, ...] | None:
        return self._get(_FILES, "tree", _at(repo))

    def keep_tree(self, repo: HubRepo, files: Iterable[HubFile]) -> None:
        held = tuple(file for file in files if file.path.lower().endswith(".gguf"))
        self.cache.set(self._key("tree", _at(repo)), _FILES.dump_python(held, mode="json"))

    def header(self, repo: HubRepo) -> HeaderFacts | None:
        return self._get(_FACTS, "header", _at(repo))

    def keep_header(self, repo: HubRepo, facts: HeaderFacts) -> None:
        self.cache.set(self._key("header", _at(repo)), _FACTS.dump_python(facts, mode="json"))

    def base(self, model_id: str) -> HubRepo | None:
        return self._get(_REPO, "base", model_id)

    def keep_base(self, model_id: str, repo: HubRepo) -> None:
        self.cache.set(self._key("base", model_id), _REPO.dump_python(repo, mode="json"))

    def learnt(self, found: Iterable[Find]) -> Learnt:
        """Everything remembered about these repositories and their models."""
        finds = tuple(found)
        trees = ((find.repo.id, self.tree(find.repo)) for find in finds)
        headers = ((find.repo.id, self.header(find.repo)) for find in finds)
        bases = ((find.model_id, self.base(find.model_id)) for find in finds if find.known is None)
        return Learnt(
            trees={repo: files for repo, files in trees if files is not None},
            headers={repo: facts for repo, facts in headers if facts is not None},
            bases={model: repo for model, repo in bases if repo is not None},
        )

    def failed(self) -> Entry | None:
        """When a refresh last lacked an answer, and for how many seconds to ask nobody; null where all answered."""
        return self.cache.get(self._key("failed", "refresh"))

    def keep_failure(self, pause_seconds: float | None) -> None:
        """Write down that not everybody answered and how long not to ask again; None: everybody did."""
        key = self._key("failed", "refresh")
        if pause_seconds is not None or self.cache.get(key) is not None:
            self.cache.set(key, pause_seconds)

    def _key(self, kind: str, what: str) -> str:
        return f"{kind}|{self._endpoint}|{what}"

    def _get(self, shape: TypeAdapter[T], kind: str, what: str) -> T | None:
        entry = self.cache.get(self._key(kind, what))
        return None if entry is None else _read(shape, entry.value)


def _at(repo: HubRepo) -> str:
    return f"{repo.id}@{repo.commit or repo.last_modified or 'main'}"


def _read(shape: TypeAdapter[T], value: Any) -> T | None:
    """The value, or None where an entry is not what its key promises: it will be asked for again."""
    try:
        return shape.validate_python(value)
    except ValidationError:
        return None
