"""What lies in a router's cache directory, where it can be seen from here: which files stand for a name, and what is
really in them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from reconciler.domain.artifact import HubArtifact
from reconciler.domain.desired import Target
from reconciler.domain.desired_rules import is_loopback
from reconciler.domain.units import Bytes
from reconciler.formats.gguf_names import parse
from reconciler.formats.router_names import RouterName, tag_of
from reconciler.integrations.runtimes.digest_cache import DigestCache, hashed
from reconciler.integrations.runtimes.hub_layout import (
    CachedFile,
    CachedModel,
    CacheView,
    cache_directories,
    link_of,
    look,
)
from reconciler.integrations.runtimes.llama_server_api import DEFAULT_ENDPOINT, Listed
from reconciler.ports import Progress


class Content:
    """The files behind one router.

    Args:
        target: its ``cache`` says where they are; else, on this host, the variables do.
        environ: read for the variables that tell where a Hub cache is.
        digests: which digest a file had when it was read.
    """

    def __init__(self, target: Target, environ: Mapping[str, str], digests: DigestCache) -> None:
        self._is_named = target.cache is not None
        self._directories = _directories(target, environ)
        self._digests = digests
        self.folder: Path | None = None
        """The router's cache directory, as the last look found."""

    async def look(self, listed: Sequence[Listed]) -> tuple[Path | None, CacheView | None]:
        """The router's cache directory, where it can be read here and holds what the router lists of it."""
        cached = {item.name for item in listed if item.source == "cache" and item.is_there}
        named = {
            item.name for item in listed if item.source != "models_dir"
        }  # after a restart a section hides the cache
        for directory in self._directories:
            view = await asyncio.to_thread(look, directory)
            if (
                view is not None
                and cached <= set(view.models)
                and (self._is_named or not view.models or named & set(view.models))
            ):
                self.folder = directory
                return directory, view
        return None, None

    def known_digest(self, model: CachedModel) -> str | None:
        known = [self._digests.get(file.blob, file.stamp) for file in model.all_files]
        return "+".join(digest for digest in known if digest) if all(known) else None

    async def read(self, model: CachedModel, progress: Progress) -> str:
        done, digests = 0, []
        for file in model.all_files:
            digests.append(await self._read_file(file, done, model.bytes, progress))
            done += file.bytes
        return "+".join(digests)

    async def _read_file(self, file: CachedFile, before: int, total: int, progress: Progress) -> str:
        known = self._digests.get(file.blob, file.stamp)
        if known is not None:
            return known
        loop, stopped = asyncio.get_running_loop(), False

        def moved(count: int) -> None:
            loop.call_soon_threadsafe(progress, Bytes(before + count), Bytes(total), "verifying")

        try:
            digest, stamp = await asyncio.to_thread(hashed, file.blob, moved=moved, stop=lambda: stopped)
        finally:
            stopped = True
        self._digests.put(file.blob, stamp, digest)
        return digest

    async def weights(self, model: CachedModel) -> str:
        """The digests of the model's own files, by reading them. A projector is the repository's, and any will do."""
        progress = _unheard
        return "+".join([await self._read_file(file, 0, model.bytes, progress) for file in model.files])


def cached_file(target: Target, environ: Mapping[str, str], name: str) -> Path | None:
    """The link to a model's first file in its router's cache; None where none can be read here. Blocks."""
    for directory in _directories(target, environ):
        view = look(directory)
        if view is not None and name in view.models:
            model = view.models[name]
            return link_of(directory, RouterName.parse(name), model.commit, model.files[0].path)
    return None


def _directories(target: Target, environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Where its cache may be; a server elsewhere has none here, whatever else is known of the target."""
    if target.cache:
        return (Path(target.cache),)
    here = target.is_local and is_loopback(target.endpoint or DEFAULT_ENDPOINT)
    return cache_directories(environ) if here else ()


def standing(listed: Sequence[Listed], view: CacheView | None) -> list[Listed]:
    """What is really there: no running downloads, and no section of a preset whose files are elsewhere or gone.

    Where the files cannot be seen, whatever is listed is there: nothing is missing only because nobody may look.
    """
    there = [item for item in listed if item.is_there]
    if view is None:
        return there
    return [
        item for item in there if item.source != "preset" or item.name in view.models or "hf-repo" not in item.settings
    ]


def wanted_weights(artifact: HubArtifact) -> str:
    """The digests of an artifact's model files: all that end in the tag the model is listed under."""
    tag = tag_of(artifact.files[0].path)
    first, *others = artifact.files
    return "+".join([first.sha256, *(file.sha256 for file in others if _belongs(file.path, first.path, tag))])


def _belongs(path: str, first: str, tag: str | None) -> bool:
    return parse(path).role == "model" and tag_of(path) == tag and parse(path).stem == parse(first).stem


def _unheard(done: Bytes, total: Bytes, note: str = "") -> None:
    """Reading back what was just written is not told of."""
