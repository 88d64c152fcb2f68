"""What one look at a router shows, in domain values. Nothing is asked here, and nothing decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from reconciler.domain.adapter import ServedAdapter
from reconciler.domain.desired import Target
from reconciler.domain.observation import Installed, InstalledFile, ObservedTarget
from reconciler.domain.units import Bytes, show_bytes
from reconciler.formats.router_names import RouterName
from reconciler.integrations.runtimes.hub_layout import CachedFile, CachedModel, CacheView
from reconciler.integrations.runtimes.llama_server_aliases import context_of, seen_aliases, stands_for
from reconciler.integrations.runtimes.llama_server_api import Listed
from reconciler.integrations.runtimes.llama_server_content import Content, standing
from reconciler.integrations.runtimes.llama_server_preset import Section
from reconciler.integrations.runtimes.llama_server_serving import as_told

_UNREAD = "listed"
"""The stamp of a model whose files cannot be seen: it is there, and that is all a look can tell."""


@dataclass(frozen=True, slots=True)
class Look:
    """What was read, at one instant."""

    listed: Sequence[Listed]
    view: CacheView | None
    """The cache directory; None where it cannot be read here."""
    sections: Mapping[str, Section] | None
    """Of the preset file; None where there is none, or it cannot be read."""
    busy: frozenset[str]
    version: str
    left: frozenset[str] = frozenset()
    """Models of which we left an unfinished download behind."""
    adapters: tuple[ServedAdapter, ...] = ()
    takes_adapters: bool = False
    why_no_adapters: str | None = None


def observed(target: Target, look: Look, content: Content) -> ObservedTarget:
    """The target as it stands. A model that answers under another name is in use as much as under its own."""
    models = look.view.models if look.view else {}
    there = standing(look.listed, look.view)
    aliases = seen_aliases(look.listed, look.sections, {item.name for item in there}, look.busy)
    busy = look.busy | {alias.model for alias in aliases if alias.loaded and alias.model}
    busy |= {adapter.base for adapter in look.adapters if adapter.loaded and adapter.base}
    installed = [
        _installed(item, models.get(item.name), item.name in busy, content).model_copy(
            update={"held_by": held_by(item, look.listed, look.sections)}
        )
        for item in there
    ]
    return ObservedTarget(
        name=target.name,
        key=target.key,
        installed=tuple(as_told(model, look.sections) for model in sorted(installed, key=lambda model: model.name)),
        aliases=aliases,
        adapters=look.adapters,
        takes_adapters="gguf" if look.takes_adapters else None,
        why_no_adapters=look.why_no_adapters,
        disk=look.view.disk if look.view else None,
        partial_bytes=look.view.partial_bytes if look.view else Bytes(0),
        orphan_bytes=look.view.orphan_bytes if look.view else Bytes(0),
        partial_names=tuple(sorted({item.name for item in look.listed if not item.is_there} | look.left)),
        version=look.version,
        notes=tuple(_notes(look)),
    )


def held_by(item: Listed, listed: Sequence[Listed], sections: Mapping[str, Section] | None) -> str | None:
    """Why a router would not let go of a model, whoever asks: somebody else's section of its preset file wants it.

    Args:
        item: the model.
        listed: by the router, as it serves now.
        sections: of the preset file as it is now; what only the router still lists goes as it reads the file again.
    """
    theirs = {name for name, section in (sections or {}).items() if not section.is_ours}
    if item.name in theirs and (item.source == "preset" or not item.can_remove):
        return f"its section of the router's preset file is not ours: take the section {item.name} out to let it go"
    names = ", ".join(one.name for one in listed if stands_for(one) == item.name and one.name in theirs)
    if names:
        return f"a section of the router's preset file that is not ours serves it: take {names} out to let it go"
    return None


def parsed(name: str) -> RouterName | None:
    """The parts of a name of the cache; None for any other."""
    with suppress(ValueError):
        return RouterName.parse(name)
    return None


def _installed(item: Listed, model: CachedModel | None, busy: bool, content: Content) -> Installed:
    name = parsed(item.name)
    from_cache = model is not None and name is not None
    return Installed(
        name=item.name,
        bytes=model.bytes if model else Bytes(item.weights_bytes or 0),
        digest=content.known_digest(model) if model else None,
        stamp=model.stamp if model else _UNREAD,
        files=tuple(_installed_file(file) for file in model.all_files) if model else (),
        repo=name.repo if name and (from_cache or item.source == "cache") else None,
        quant=name.quant if name and (from_cache or item.source == "cache") else None,
        loaded=busy,
        model_context=context_of(item.settings),
    )


def _installed_file(file: CachedFile) -> InstalledFile:
    return InstalledFile(path=file.path, bytes=file.bytes, stamp=file.stamp)


def _notes(look: Look) -> list[str]:
    notes = [
        f"{item.name} did not load when it was last asked to (exit code {item.exit_code}); the router's log says why"
        for item in look.listed
        if item.failed
    ]
    if look.view is None:
        notes.append(
            "its cache directory cannot be read here, so content is told apart by name and size only, and neither"
            " digests nor drift are seen: `cache:` says where it is"
        )
    elif look.view.partial_bytes:
        partial = show_bytes(look.view.partial_bytes)
        notes.append(f"unfinished downloads take {partial}; the router resumes them when asked")
    if look.view is not None and look.view.orphan_bytes:
        orphans = show_bytes(look.view.orphan_bytes)
        notes.append(f"{orphans} in its cache directory belong to no model any more; nothing here removes them")
    return notes
