"""What of the Hub's answers is remembered, under which key, and how it is read back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from pydantic import TypeAdapter, ValidationError

from reconciler.integrations.catalog.hub_cache import Entry, HubCache

if TYPE_CHECKING:  # an offline run with an empty cache does not load what reads the Hub's answers
    from reconciler.integrations.catalog.discovery import Find, HeaderFacts, Learnt
    from reconciler.integrations.catalog.hub_wire import HubFile, HubRepo

_Shape = Literal["repos", "files", "header", "repo"]


@cache
def _shape(kind: _Shape) -> TypeAdapter[Any]:
    """Built when first needed."""
    from reconciler.integrations.catalog.discovery import HeaderFacts
    from reconciler.integrations.catalog.hub_wire import HubFile, HubRepo

    shapes: dict[_Shape, Any] = {
        "repos": tuple[HubRepo, ...],
        "files": tuple[HubFile, ...],
        "header": HeaderFacts,
        "repo": HubRepo,
    }
    return TypeAdapter(shapes[kind])


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
        repos: tuple[HubRepo, ...] | None = None if entry is None else _read("repos", entry.value)
        return None if entry is None or repos is None else Listed(repos, entry)

    def keep_list(self, organisation: str, repos: Iterable[HubRepo]) -> None:
        self.cache.set(self._key("list", organisation), _shape("repos").dump_python(tuple(repos), mode="json"))

    def tree(self, repo: HubRepo) -> tuple[HubFile, ...] | None:
        found: tuple[HubFile, ...] | None = self._get("files", "tree", _at(repo))
        return found

    def keep_tree(self, repo: HubRepo, files: Iterable[HubFile]) -> None:
        held = tuple(file for file in files if file.path.lower().endswith(".gguf"))
        self.cache.set(self._key("tree", _at(repo)), _shape("files").dump_python(held, mode="json"))

    def header(self, repo: HubRepo) -> HeaderFacts | None:
        found: HeaderFacts | None = self._get("header", "header", _at(repo))
        return found

    def keep_header(self, repo: HubRepo, facts: HeaderFacts) -> None:
        self.cache.set(self._key("header", _at(repo)), _shape("header").dump_python(facts, mode="json"))

    def base(self, model_id: str) -> HubRepo | None:
        found: HubRepo | None = self._get("repo", "base", model_id)
        return found

    def keep_base(self, model_id: str, repo: HubRepo) -> None:
        self.cache.set(self._key("base", model_id), _shape("repo").dump_python(repo, mode="json"))

    def learnt(self, found: Iterable[Find]) -> Learnt:
        """Everything remembered about these repositories and their models."""
        from reconciler.integrations.catalog.discovery import Learnt

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

    def _get(self, shape: _Shape, kind: str, what: str) -> Any:
        entry = self.cache.get(self._key(kind, what))
        return None if entry is None else _read(shape, entry.value)


def _at(repo: HubRepo) -> str:
    return f"{repo.id}@{repo.commit or repo.last_modified or 'main'}"


def _read(shape: _Shape, value: Any) -> Any:
    """The value, or None where an entry is not what its key promises: it will be asked for again."""
    try:
        return _shape(shape).validate_python(value)
    except ValidationError:
        return None
