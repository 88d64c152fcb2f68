"""What a look at an Ollama server tells of the target: models, names and adapters, and what a person should know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from reconciler.domain.adapter import ServedAdapter
from reconciler.domain.desired import Target
from reconciler.domain.names import DEFAULT_TAG, HUB_HOSTS, OllamaName
from reconciler.domain.observation import Installed, ObservedTarget
from reconciler.domain.units import Bytes, show_bytes
from reconciler.integrations.runtimes.ollama_adapters import can_make, is_passing
from reconciler.integrations.runtimes.ollama_api import Listed
from reconciler.integrations.runtimes.ollama_keep import is_kept
from reconciler.integrations.runtimes.ollama_look import Look, canonical, key
from reconciler.integrations.runtimes.ollama_names import aliases_of
from reconciler.integrations.runtimes.ollama_store import StoreView
from reconciler.integrations.runtimes.ollama_use import keep_alive_of, last_use


@dataclass(frozen=True, slots=True)
class Configured:
    """What a server of this host was started with, as far as our own environment is its."""

    context: int | None = None
    """Tokens that a model gets which does not say itself."""
    keep_alive: timedelta | None = None
    """How long an idle model stays loaded; a request may have asked otherwise."""

    @classmethod
    def of(cls, target: Target, environ: Mapping[str, str]) -> Configured:
        """Nothing is known of a server of another host."""
        if not target.is_local:
            return cls()
        context = environ.get("OLLAMA_CONTEXT_LENGTH", "")
        return cls(
            context=int(context) if context.isdecimal() and int(context) > 0 else None,
            keep_alive=keep_alive_of(environ.get("OLLAMA_KEEP_ALIVE", "")),
        )


def observed(
    target: Target,
    version: str,
    look: Look,
    adapters: tuple[ServedAdapter, ...],
    configured: Configured,
    now: datetime,
) -> ObservedTarget:
    """A whole look in domain values. What we hold under names of our own for a moment is no model."""
    passing = [item for item in look.listed if is_kept(item.name) or is_passing(item.name)]
    installed = [_installed(item, look, configured, now) for item in look.listed if item not in passing]
    return ObservedTarget(
        name=target.name,
        key=target.key,
        installed=tuple(sorted(installed, key=lambda model: model.name)),
        aliases=aliases_of(look),
        adapters=adapters,
        takes_adapters="gguf" if can_make(version) else None,
        detaches_adapters=True,
        disk=look.view.disk if look.view else None,
        partial_bytes=look.view.partial_bytes if look.view else Bytes(0),
        orphan_bytes=look.view.orphan_bytes if look.view else Bytes(0),
        version=version,
        served_context=_served_context(look, configured),
        notes=(*_notes(look), *_disk_notes(look.view)),
    )


def _installed(item: Listed, look: Look, configured: Configured, now: datetime) -> Installed:
    repo, quant = _origin(item.name)
    shown, runners = look.shown.get(item.name), look.runners_of(item)
    own_context = shown.context if shown else None
    loaded = next((runner for runner in runners if key(runner.name) == key(item.name)), None)
    idle = [runner for runner in runners if runner not in look.busy]
    used = (last_use(runner, configured.keep_alive, now) for runner in idle)
    return Installed(
        name=canonical(item.name),
        bytes=Bytes(0 if item.remote else item.size),
        digest=item.digest,
        stamp=item.digest,
        blobs=shown.blobs if shown else (),
        repo=repo,
        quant=quant or item.quant,
        modified_at=item.modified_at,
        last_used_at=max((moment for moment in used if moment), default=None),
        loaded=look.is_busy(item),
        resident=bool(runners),
        remote=item.remote,
        model_context=own_context or (loaded.context if loaded else None),
    )


def _served_context(look: Look, configured: Configured) -> int | None:
    """Tokens the server gives a model that does not say itself: as configured on this host, else as it does now.

    The least of the loaded ones, because a client may have asked for more than the server would give.
    """
    if configured.context:
        return configured.context
    special = {key(item.name) for item in look.listed if (own := look.shown.get(item.name)) and own.context}
    served = [item.context for item in look.loaded if item.context and key(item.name) not in special]
    return min(served, default=None)


def _notes(look: Look) -> list[str]:
    """What a person should know of what is loaded, and of what an update left."""
    notes = [
        f"{item.name} is still loaded though it was deleted; its disk space comes back when it is unloaded"
        for item in look.loaded
        if look.find(item.name) is None
    ]
    notes += [
        f"{item.name} is the old content of an update that was cut off; the next apply settles that"
        for item in look.listed
        if is_kept(item.name)
    ]
    return notes


def _disk_notes(view: StoreView | None) -> list[str]:
    """What the API hides, where the directory shows it; and that it is hidden, where not."""
    if view is None:
        return ["sizes are what Ollama's API tells: shared files count once per model, unfinished downloads are hidden"]
    notes = []
    if view.partial_bytes:
        notes.append(
            f"unfinished downloads ({view.partials}) take {show_bytes(view.partial_bytes)}; Ollama resumes them, and"
            " clears what is older than an hour when it restarts"
        )
    if view.orphan_bytes:
        notes.append(
            f"files that no model refers to ({view.orphans}) take {show_bytes(view.orphan_bytes)}; restarting Ollama"
            " clears those older than an hour"
        )
    return notes


def _origin(name: str) -> tuple[str | None, str | None]:
    """(repository, quant) of a Hub name; both None for others.

    >>> _origin("hf.co/Qwen/Qwen3-8B-GGUF:Q4_K_M")
    ('Qwen/Qwen3-8B-GGUF', 'Q4_K_M')
    """
    try:
        parsed = OllamaName.parse(name)
    except ValueError:
        return None, None
    if parsed.host.lower() not in HUB_HOSTS:
        return None, None
    is_quant = parsed.tag != DEFAULT_TAG and not parsed.tag.lower().endswith(".gguf")
    return f"{parsed.namespace}/{parsed.model}", parsed.tag.upper() if is_quant else None
