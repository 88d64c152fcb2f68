"""Whether an adapter's weights are what its configuration says, and what is wrong with the weights themselves."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial

from reconciler.domain.finding import Finding
from reconciler.lora.adapter_config import AdapterConfig, Targets
from reconciler.lora.findings import error, note, warning
from reconciler.lora.module_pattern import Pattern, has_name
from reconciler.lora.served_features import extra_embeddings
from reconciler.lora.weights import AdapterFacts, AdapterModule

_SHOWN = 3
_AGAIN = "save the adapter again, with save_pretrained of the library that trained it"
_TOGETHER = "put configuration and weights of one and the same training there: save_pretrained writes both"
_CONVERT_AGAIN = "convert the adapter again with llama.cpp's convert_lora_to_gguf.py"
_TRAIN_WITHOUT = "train it without, or merge it into its base"
_NAME = re.compile(r"[\w-]+")


def judge_weights(facts: AdapterFacts) -> tuple[Finding, ...]:
    """What is wrong with the weights by themselves."""
    return tuple(_flaws(facts))


def judge_agreement(facts: AdapterFacts, config: AdapterConfig) -> tuple[Finding, ...]:
    """Where configuration and weights contradict each other. What cannot be told is a note, never an error."""
    return (
        *_ranks(facts, config),
        *_modules(facts, config),
        *_layers(facts, config),
        *_beside(facts, config),
    )


def _flaws(facts: AdapterFacts) -> Iterator[Finding]:
    if facts.adapter_type not in (None, "lora"):
        yield error(
            "adapter_type_not_lora",
            f"the file's adapter.type is {facts.adapter_type}, not lora",
            "give an adapter that was trained as LoRA",
        )
    if facts.format == "gguf" and facts.adapter_type is None:
        text = "the file has no adapter.type, which the runtime wants to be lora"
        yield error("adapter_type_not_lora", text, _CONVERT_AGAIN)
    again = _CONVERT_AGAIN if facts.format == "gguf" else _AGAIN
    if facts.unpaired:
        yield error("pair_incomplete", f"one half of the pair is missing: {_some(facts.unpaired)}", again)
    if facts.contradictory:
        yield error("pair_contradictory", f"halves that do not fit together: {_some(facts.contradictory)}", again)
    if not facts.modules and not facts.unpaired and not facts.contradictory:
        yield error("no_pairs", "the weights hold no LoRA pair", again)
    yield from _dtypes(facts)
    if facts.format == "gguf":
        yield from _gguf_flaws(facts)
    elif facts.stray:
        yield warning("tensors_stray", f"tensors that are part of no pair: {_some(facts.stray)}", _AGAIN)


def _gguf_flaws(facts: AdapterFacts) -> Iterator[Finding]:
    """Source: llama.cpp b10434 src/llama-adapter.cpp; it passes over norms, and ends at anything else beside pairs."""
    refused = [*(each for each in facts.saved if not each.endswith("_norm")), *facts.stray, *facts.biases]
    if refused:
        yield error("tensors_refused", f"llama.cpp takes pairs only; it stops at {_some(refused)}", _TRAIN_WITHOUT)
    if facts.alpha is None:
        text = "adapter.lora.alpha is missing: the pairs are applied without their scale"
        yield warning("alpha_missing", text, _CONVERT_AGAIN)


def _dtypes(facts: AdapterFacts) -> Iterator[Finding]:
    if facts.odd_dtypes:
        text = f"pairs of type {', '.join(facts.odd_dtypes)}: no runtime adds those to a base"
        yield error("dtype_odd", text, "save the weights as F32, F16 or BF16")
    halves = sorted({each.dtypes for each in facts.modules})
    if len({dtype for pair in halves for dtype in pair}) > 1 and facts.format == "safetensors":
        text = f"pairs of several types: {', '.join(facts.dtypes)}"
        yield warning("dtype_mixed", text, "save all of them as one type, if a runtime refuses it")


def _ranks(facts: AdapterFacts, config: AdapterConfig) -> Iterator[Finding]:
    if config.rank is None:
        return
    patterns = _rank_patterns(config.rank_pattern, facts.modules)
    if patterns is None:
        yield note("rank_pattern_not_tried", "rank_pattern could take too long to try: ranks were not compared with it")
        return
    wrong = []
    for module in facts.modules:
        wanted = next((rank for fits, rank in patterns if fits(module.path)), config.rank)
        fine = module.rank % wanted == 0 if module.is_stack and wanted else module.rank == wanted
        if not fine:
            wrong.append(f"{module.path} has {module.rank}, the configuration says {wanted}")
    if wrong:
        yield error("rank_differs", f"ranks differ in {len(wrong)} modules: {_some(wrong)}", _TOGETHER)


def _rank_patterns(
    patterns: Mapping[str, int], modules: Sequence[AdapterModule]
) -> list[tuple[Callable[[str], bool], int]] | None:
    """What each key means, in their order; None: one of them may not be tried."""
    paths = [module.path for module in modules]
    found: list[tuple[Callable[[str], bool], int]] = []
    for key, rank in patterns.items():
        if _NAME.fullmatch(key):
            found.append((partial(_ends_with, key), rank))
            continue
        pattern = Pattern(key if key.startswith("^") else rf"(.*\.)?({key})")
        if not pattern.can_be_tried(paths):
            return None
        found.append((pattern.fits, rank))
    return found


def _ends_with(name: str, path: str) -> bool:
    return has_name(path, (name,))


def _modules(facts: AdapterFacts, config: AdapterConfig) -> Iterator[Finding]:
    paths = [module.path for module in facts.modules]
    if facts.format == "gguf" or config.targets is None:
        return
    listed = config.target_parameters and [each.rpartition(".")[0] for each in config.target_parameters]
    named = [path for path in paths if not has_name(path.removesuffix(".base_layer"), listed or ())]
    meant = _meant(named, config.target_modules, config.targets)
    barred = _meant(named, config.exclude_modules, config.excludes) if config.excludes else set()
    if meant is None or barred is None:
        yield note("targets_not_tried", "target_modules could take too long to try: modules were not compared with it")
        return
    beyond = [path for path in named if path not in meant]
    if beyond:
        text = f"pairs of modules that target_modules does not name: {_some(beyond)}"
        yield error("modules_unexpected", text, _TOGETHER)
    if barred:
        text = f"pairs of modules that exclude_modules names: {_some(sorted(barred))}"
        yield error("modules_excluded", text, _TOGETHER)
    if config.targets == "list":
        there = {end for path in paths for end in _ends(path)}
        absent = [name for name in config.target_modules if name not in there]
        spared = _meant(absent, config.exclude_modules, config.excludes) if config.excludes else set()
        absent = [name for name in absent if spared is not None and name not in spared]
        if absent:
            text = f"target_modules names what the weights do not have: {_some(absent)}"
            yield warning("modules_missing", text, _TOGETHER)


def _meant(paths: Sequence[str], names: Sequence[str], how: Targets) -> set[str] | None:
    """The paths that are meant; None: a pattern that may not be tried."""
    if how == "all-linear":
        return set(paths)
    if how == "list":
        ends = frozenset(names)
        return {path for path in paths if path.rpartition(".")[2] in ends or has_name(path, names)}
    pattern = Pattern(names[0])
    return {path for path in paths if pattern.fits(path)} if pattern.can_be_tried(paths) else None


def _ends(path: str) -> list[str]:
    """Every name that would mean this module: its path, and what is left of it after each dot."""
    parts = path.split(".")
    return [".".join(parts[index:]) for index in range(len(parts))]


def _layers(facts: AdapterFacts, config: AdapterConfig) -> Iterator[Finding]:
    wanted, found = set(config.layers_to_transform), set(facts.layers)
    if wanted and found - wanted:
        text = f"layers that layers_to_transform does not name: {_some(found - wanted)}"
        yield error("layers_unexpected", text, _TOGETHER)
    if wanted and wanted - found:
        text = f"layers_to_transform names layers without pairs: {_some(wanted - found)}"
        yield warning("layers_missing", text, _TOGETHER)
    gaps = set(range(min(found), max(found) + 1)) - found if found and not wanted else set()
    if gaps:
        text = f"layers between the first and the last have no pair: {_some(gaps)}"
        yield warning("layers_missing", text, "see whether it was trained so")


def _beside(facts: AdapterFacts, config: AdapterConfig) -> Iterator[Finding]:
    if config.use_dora and not facts.has_dora:
        yield error("dora_missing", "use_dora is set, and the weights hold no magnitude vector", _AGAIN)
    if facts.has_dora and not config.use_dora:
        text = "the weights hold DoRA vectors, and use_dora is not set: they would be ignored"
        yield error("dora_undeclared", text, _TOGETHER)
    absent = [name for name in config.modules_to_save if not any(has_name(path, (name,)) for path in facts.saved)]
    absent = [name for name in absent if not any(f".{name}." in f".{path}." for path in facts.saved)]
    if absent:
        yield error("saved_missing", f"modules_to_save names what the weights do not hold: {_some(absent)}", _AGAIN)
    grown = extra_embeddings(facts, config)
    unnamed = [path for path in facts.saved if path not in grown]
    extra = [path for path in unnamed if not any(f".{name}." in f".{path}." for name in config.modules_to_save)]
    if extra:
        yield warning(
            "saved_undeclared", f"whole tensors that modules_to_save does not name: {_some(extra)}", _TOGETHER
        )
    if facts.biases and config.bias in (None, "none") and not config.lora_bias:
        text = f"biases that the configuration does not mention: {_some(facts.biases)}"
        yield warning("bias_undeclared", text, _TOGETHER)
    if config.trainable_tokens and facts.token_deltas != config.trainable_tokens:
        yield error(
            "tokens_differ",
            f"{config.trainable_tokens} trained tokens are declared, the weights hold {facts.token_deltas}",
            _TOGETHER,
        )


def _some(found: Iterable[object]) -> str:
    """The first few of many."""
    rows = sorted(found) if isinstance(found, set) else list(found)
    more = f" and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else ""
    return ", ".join(f"{each!s:.120}" for each in rows[:_SHOWN]) + more
