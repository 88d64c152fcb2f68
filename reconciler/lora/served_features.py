"""Whether a runtime can serve an adapter: its file format, and what it does beyond a plain pair."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from reconciler.domain.finding import Finding
from reconciler.lora.adapter_config import AdapterConfig
from reconciler.lora.findings import error, note, warning
from reconciler.lora.route_table import Provider, version_of
from reconciler.lora.weights import AdapterFacts

_MERGE = "merge it into its base, or serve it with a runtime that takes this"
_ONE_FILE = "load it with peft and save it again, as one file"
_FUSE = "mlx_lm.fuse merges it into its base; or train it with a library that saves as peft does"
_REGISTER = "register it with the server that runs there, or merge it into its base"
_INPUTS = frozenset({"embed_tokens", "wte", "embed_in", "word_embeddings"})
_EMBEDDINGS = _INPUTS | {"lm_head", "embed_out"}
"""Layers that peft saves by itself where a vocabulary was extended: ``EMBEDDING_LAYER_NAMES`` and what models say."""
_UNCHANGED = (
    "save it as a plain one (save_pretrained of peft with path_initial_model_for_weight_conversion), or merge it into "
    "the base that it was trained on"
)
_INSTEAD = {"shards": _ONE_FILE, "init_lora_weights": _UNCHANGED}
_OWN = {"peft": "peft", "gguf": "GGUF", "mlx": "MLX's own"}
_CONVERT = "llama.cpp's convert_lora_to_gguf.py makes a GGUF adapter from this folder and the base's config.json"


def features_of(facts: AdapterFacts | None, config: AdapterConfig | None) -> tuple[str, ...]:
    """What an adapter uses beyond pairs of one rank, by the words of ``adapter_config.json``, in a fixed order."""
    stated = config or AdapterConfig()
    found = None if facts is None or facts.format == "gguf" else facts  # beside pairs GGUF adapters can have nothing
    whole = [path for path in (found.saved if found else ()) if path not in extra_embeddings(found, stated)]
    uses = {
        "dora": stated.use_dora or bool(found and found.has_dora),
        "rslora": stated.use_rslora,
        "modules_to_save": bool(stated.modules_to_save) or bool(whole),
        "bias": stated.bias not in (None, "none") or stated.lora_bias or bool(found and found.biases),
        "rank_pattern": bool(stated.rank_pattern) or len(facts.ranks if facts else ()) > 1,
        "alpha_pattern": bool(stated.alpha_pattern),
        "fan_in_fan_out": stated.fan_in_fan_out,
        "layer_replication": bool(stated.layer_replication),
        "target_parameters": bool(stated.target_parameters),
        "trainable_tokens": bool(stated.trainable_tokens) or bool(found and found.token_deltas),
        "extra_vocabulary": bool(extra_embeddings(found, stated)),
        "shards": bool(found and found.files > 1),
        "init_lora_weights": stated.changing_init is not None,
        "alora": stated.alora_tokens > 0,
        "bdlora": stated.use_bdlora,
        "qalora": stated.use_qalora,
    }
    return tuple(name for name, is_used in uses.items() if is_used)


def extra_embeddings(facts: AdapterFacts | None, config: AdapterConfig) -> tuple[str, ...]:
    """Whole embeddings that nobody asked to save: peft does where the vocabulary was extended."""
    names = {each.rpartition(".")[2]: each for each in (facts.saved if facts else ())}
    grown = {name: path for name, path in names.items() if name in _EMBEDDINGS and name not in config.modules_to_save}
    return tuple(grown.values()) if _INPUTS & set(grown) else ()


def judge_runtime(
    facts: AdapterFacts | None,
    config: AdapterConfig | None,
    runtime: Provider | None,
    provider: str,
    version: str | None = None,
) -> tuple[Finding, ...]:
    """What stands between an adapter and a runtime.

    Args:
        facts: of its weights; None: they were not read.
        config: None: there is none.
        runtime: what it can do; None: nobody knows it.
        provider: its name as the person knows it.
        version: of the very server; None: not known.
    """
    if runtime is not None and facts is not None and facts.format == "mlx" and "mlx" not in _formats(runtime):
        return tuple(_format(facts, runtime))
    if runtime is None or not runtime.launches_lora:
        title = runtime.title if runtime else provider
        return (
            warning(
                "runtime_no_lora",
                f"{title} ({provider}) has no flag that loads adapters",
                next(iter(runtime.notes if runtime else ()), None) or _REGISTER,
            ),
        )
    rank = facts.max_rank if facts else config.rank if config else None
    return (*_rank(rank, runtime), *_format(facts, runtime), *_features(features_of(facts, config), runtime, version))


def judge_init(config: AdapterConfig) -> Iterator[Finding]:
    """Pairs that belong to a base which was changed before they were trained: whoever serves it, serves another one.

    Source:
        peft 0.21.2 ``tuners/lora/layer.py`` (the residual of PiSSA and others is what is left in the base), and
        ``peft_model.py``: what was converted when it was saved says ``init_lora_weights: true``.
    """
    if config.changing_init is not None:
        text = f"init_lora_weights is {config.changing_init}: it was trained on a base that this start had changed"
        yield warning("init_changes_base", f"{text}, and is wrong on the plain one", _UNCHANGED)


def _rank(rank: int | None, runtime: Provider) -> Iterator[Finding]:
    if rank is not None and not runtime.limits_rank:
        yield note("runtime_no_max_rank", f"{runtime.title} has no flag for the largest rank")


def _format(facts: AdapterFacts | None, runtime: Provider) -> Iterator[Finding]:
    if facts is None or runtime.adapter_formats is None:
        return
    mine = "peft" if facts.format == "safetensors" else facts.format
    if mine in runtime.adapter_formats:
        return
    if mine == "peft" and "gguf" in runtime.adapter_formats:
        yield warning("adapter_conversion", f"{runtime.title} loads GGUF adapters only", _CONVERT)
        return
    wanted = " or ".join(runtime.adapter_formats) or "no adapters"
    text = f"{runtime.title} loads {wanted}, and this adapter is {_OWN[mine]}"
    hint = _FUSE if mine == "mlx" else "give it in that form, or serve it with a runtime that takes this one"
    yield error("adapter_format_differs", text, hint)


def _formats(runtime: Provider) -> tuple[str, ...]:
    """What it loads; where no source says, anything."""
    return runtime.adapter_formats if runtime.adapter_formats is not None else ("peft", "gguf", "mlx")


def _features(used: Iterable[str], runtime: Provider, version: str | None) -> Iterator[Finding]:
    for name in used:
        supported = getattr(runtime, f"supports_{name}", None)
        if supported is False:
            hint = _INSTEAD.get(name, _MERGE)
            yield error(f"{name}_refused", f"{runtime.title} does not take adapters with {name}", hint)
        elif supported is None:
            yield note(f"{name}_unknown", f"no source says whether {runtime.title} honours {name}")
        elif name in runtime.since:
            yield from _by_version(name, runtime, version)


def _by_version(name: str, runtime: Provider, version: str | None) -> Iterator[Finding]:
    """A feature that the runtime did not always take. Nobody is refused for a version that cannot be read."""
    first, mine = version_of(runtime.since[name]), version_of(version)
    least = f"{runtime.title} is known to take adapters with {name} from {runtime.since[name]} on"
    if first is None or mine is None:
        yield warning(f"{name}_since", f"{least}; which version serves it is not known", "see that it is that new")
    elif mine < first:
        yield error(f"{name}_refused", f"{least}, and this one is {version}", f"serve it with that; or {_MERGE}")
