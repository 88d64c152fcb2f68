"""What a person does so that an adapter is served, where the target cannot be told."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from reconciler.domain.adapter import Adapter, AdapterServing, AdapterVerdict
from reconciler.domain.advice import adapter_command
from reconciler.domain.desired import Target
from reconciler.domain.plan import Row
from reconciler.planning.scene import Scene

_PRESET = "start it with --models-preset FILE, and write `preset: FILE` at the target"


@dataclass(frozen=True, slots=True)
class ByHand:
    """An adapter that a person has served."""

    target: Target
    base: str
    """Canonical name on its target."""
    name: str
    """In requests."""
    adapter: Adapter
    verdict: AdapterVerdict | None
    scale: float = 1.0
    start: str = ""
    """What a vLLM is started with to serve the base."""
    names: tuple[str, ...] = ()
    """What requests call the base, where that is not what the server is started with."""

    @property
    def module(self) -> tuple[str, str]:
        """Its name in requests, and its folder, file or repository."""
        return self.name, self.adapter.source.path or self.adapter.source.repo or ""


def theirs_on(scene: Scene, target: Target, base: str) -> tuple[tuple[str, str], ...]:
    """What somebody else has a server serve on a base, name and place: whoever starts it anew has to name it too."""
    observed = scene.observed.get(target.name)
    return tuple(
        (one.name, one.path)
        for one in (observed.adapters if observed is not None else ())
        if one.path is not None
        and (one.base is None or scene.same_model(target.name, one.base, base))
        and scene.record.adapter(target.key, one.name) is None
    )


def by_hand(
    row: Row,
    one: ByHand,
    served: Sequence[ByHand],
    rank: int | None = None,
    theirs: Sequence[tuple[str, str]] = (),
) -> Row:
    """The row with what a person does.

    Args:
        row: about the adapter.
        one: the adapter.
        served: all that the target is to serve on this base: a server that is started anew serves what it is told then.
        rank: the highest that it is to take; None: not known.
        theirs: somebody else's on the same server, name and place.
    """
    target, verdict = one.target, one.verdict
    runtime = target.program or "advisory" if target.runtime == "advisory" else target.runtime
    modules = {**dict(theirs), **dict(each.module for each in served)} if runtime == "vllm" else dict([one.module])
    command = adapter_command(
        runtime,
        one.start if runtime == "vllm" else one.base,
        tuple(modules.items()),
        rank=rank,
        scale=one.scale,
        names=one.names,
    )
    messages = {
        "vllm": f"{target.name} takes no adapters while it runs: start it with this one",
        "llama-server": f"{target.name} was not told its preset file: {_PRESET}, or start a server of this one alone",
        "ollama": f"{target.name} is not asked: make a model with the adapter by hand, where it is older than 0.34.1",
    }
    message = messages.get(runtime, f"{target.name} has no adapters")
    if target.preset is not None:
        message = f"{target.name} takes no adapters as it runs now: is it a router, with the preset file of the target?"
    if runtime == "vllm" and (others := sorted(dict(theirs).keys() - {each.name for each in served})):
        message += f"; what else it serves ({', '.join(others)}) has to fit --max-lora-rank too"
    if runtime == "llama-server" and (verdict is None or verdict.format != "gguf"):
        message += "; it takes GGUF, which convert_lora_to_gguf.py of llama.cpp makes of a PEFT folder"
    hint = "name another target" if command is None else None
    if target.runtime == "ollama":  # it was asked, and its version has no ADAPTER for a Modelfile any more
        command, message = None, f"{target.name} makes no models with adapters: Ollama removed that in 0.34.1"
        hint = "serve it with a llama-server, or merge it into its base and serve that as a model"
    return row.model_copy(update={"message": message, "hint": hint, "command": command})


def beside(
    one: ByHand, kept: Iterable[Row], manual: Iterable[ByHand], declared: Iterable[Adapter]
) -> tuple[ByHand, ...]:
    """What the target is to serve on the same base, this one too: what it serves as the file asks, and what waits."""
    place = (one.target.name, one.base)
    served = (
        ByHand(one.target, one.base, row.adapter.name, adapter, row.adapter.verdict, serving.scale)
        for row in kept
        if row.adapter is not None and (row.target, row.name) == place
        for adapter, serving in _servings(declared, row.adapter.adapter, row.target)
    )
    return (*served, *(other for other in manual if (other.target.name, other.base) == place))


def _servings(declared: Iterable[Adapter], name: str, target: str) -> Iterator[tuple[Adapter, AdapterServing]]:
    for adapter in declared:
        if adapter.name == name:
            yield from ((adapter, serving) for serving in adapter.serve if serving.target == target)
