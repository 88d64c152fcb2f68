"""Build the catalogue that ships in the package from collected facts.

    python scripts/build_catalog.py [--facts DIR] [--additions FILE] [--out FILE] [--check]

Reads models.json and benchmarks.json of the facts, fills their gaps from catalog_additions.json, writes one file in our
own shape (``formats.catalog_json``), the same bytes for the same facts. What is left out, and why, stands in
docs/data-sources.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any

from reconciler.domain.catalog import (
    Architecture,
    Attention,
    BenchmarkObservation,
    Build,
    CatalogModel,
    Catalogue,
    CatalogueSource,
    Repository,
)
from reconciler.domain.units import Bytes
from reconciler.formats.catalog_json import catalogue_to_json
from reconciler.formats.gguf_names import quant_of

ROOT = Path(__file__).resolve().parent.parent
COLLECTED = date(2026, 11, 22)
OUT = ROOT / "reconciler" / "integrations" / "catalog" / "snapshot.json"
FACTS = ROOT.parent / "shared" / "data"
ADDITIONS = Path(__file__).with_name("catalog_additions.json")
"""Facts found after the collection, each with what was read for it and when."""

NOT_OURS = ("artificialanalysis", "artificial-analysis", "aa_")
"""Observations whose source or benchmark holds one of these are never shipped: their terms are not ours to grant."""
PRECISIONS = {"bfloat16": "BF16", "float16": "F16"}
UNNAMED_LICENCES = {None, "", "other", "unknown"}
LINEAR_KERNEL = 4
"""Convolution width of the linear-attention layers. Source: transformers 5.23.0, Qwen3NextConfig default."""
STATE_ELEMENT_BYTES = 4
"""llama.cpp keeps recurrent state in f32."""
MAMBA_EXPAND, MAMBA_STATE = 2, 128
"""Source: Mamba-2's published defaults."""
INDEX_HEAD_DIM = 128
"""Keys of the sparse-attention index. Source: index_head_dim of DeepSeek V3.2's and GLM-5's config.json."""

SOURCES = tuple(
    CatalogueSource(*row)
    for row in (
        ("llmfit-1.1.17", "llmfit 1.1.17, embedded catalogue of Hub models", "MIT", date(2026, 9, 1), "https://github.com/AlexsJones/llmfit"),
        ("atomic-2026-08-22", "AtomicBot-ai/atomic-chat-model-catalog, Hub file sizes", "none found", date(2026, 8, 22), "https://github.com/AtomicBot-ai/atomic-chat-model-catalog"),
        ("xinference-2026-08-23", "xorbitsai/inference, llm_family.json", "Apache-2.0", date(2026, 8, 23), "https://github.com/xorbitsai/inference"),
        ("aiconfigurator", "ai-dynamo/aiconfigurator, copies of real config.json files", "Apache-2.0", date(2026, 8, 21), "https://github.com/ai-dynamo/aiconfigurator"),
        ("transformers-5.23.0", "transformers 5.23.0, class defaults only", "Apache-2.0", date(2026, 11, 22), "https://github.com/huggingface/transformers"),
        ("ollama-scrape-2026-06-20", "MarkWard0110/ollama-models, names in the Ollama library", "none found", date(2026, 6, 20), "https://github.com/MarkWard0110/ollama-models"),
        ("aa-2026-07-10", "Artificial Analysis, released facts of a model only (release date, active parameters); no scores", "attribution asked", date(2026, 7, 10), "https://artificialanalysis.ai"),
        ("jan-2025-11-01", "menloresearch/model-catalog, Hub file sizes", "none found", date(2025, 11, 1), "https://github.com/menloresearch/model-catalog"),
        ("gguf-size-catalog", "byte-exact Hub file lists with pinned revisions", "facts only", date(2026, 11, 22), ""),
        ("gguf-size-basket", "byte-exact Hub file lists with pinned revisions", "facts only", date(2026, 11, 22), ""),
        ("gguf-size-qwen35", "byte-exact Hub file lists with pinned revisions", "facts only", date(2026, 11, 22), ""),
        ("github.com/lmarena/arena-catalog", "LMArena text leaderboards", "none found", date(2025, 12, 11), "https://github.com/lmarena/arena-catalog"),
        ("https://arena.ai", "arena.ai top lists", "none found", date(2026, 4, 19), "https://arena.ai/leaderboard"),
        ("https://livebench.ai", "LiveBench releases 2024-11-25 to 2026-06-25", "none found", date(2026, 6, 25), "https://livebench.ai"),
        ("Open LLM Leaderboard v2", "Open LLM Leaderboard v2 (archived), as committed in hlzhang109/causal-eval", "none found", date(2025, 6, 14), "https://huggingface.co/open-llm-leaderboard"),
        ("https://gorilla.cs.berkeley.edu", "Berkeley Function-Calling Leaderboard v4", "Apache-2.0", date(2026, 4, 12), "https://gorilla.cs.berkeley.edu/leaderboard.html"),
        ("https://evalplus.github.io", "EvalPlus", "Apache-2.0", date(2024, 12, 26), "https://evalplus.github.io"),
        ("github.com/Aider-AI/aider", "aider polyglot and edit leaderboards", "Apache-2.0", date(2025, 10, 4), "https://aider.chat/docs/leaderboards/"),
        ("computed from github.com/embeddings-benchmark/results", "MTEB(eng, v2), computed from embeddings-benchmark/results", "CC0-1.0", date(2026, 8, 10), "https://github.com/embeddings-benchmark/results"),
        ("github.com/vectara/hallucination-leaderboard", "Vectara hallucination leaderboard", "Apache-2.0", date(2026, 3, 10), "https://github.com/vectara/hallucination-leaderboard"),
        ("github.com/ollama/ollama", "Metadata of a GGUF file, in a log that an issue quotes", "facts only", date(2026, 11, 22), "https://github.com/ollama/ollama/issues/18123"),
        ("github.com/ggml-org/llama.cpp", "Metadata of GGUF files in logs that pull requests quote; models its loader knows", "MIT", date(2026, 11, 22), "https://github.com/ggml-org/llama.cpp"),
        ("github.com/embeddings-benchmark/mteb", "mteb, metadata of embedding models", "Apache-2.0", date(2026, 11, 22), "https://github.com/embeddings-benchmark/mteb"),
        ("https://www.nomic.ai", "Nomic's announcement of nomic-embed-text-v2-moe, as quoted in public", "facts only", date(2026, 11, 22), "https://www.nomic.ai/blog/posts/nomic-embed-text-v2"),
        ("github.com/huggingface/transformers", "transformers, configuration classes and conversion scripts", "Apache-2.0", date(2026, 11, 22), "https://github.com/huggingface/transformers"),
        ("github.com/NVIDIA-NeMo/Megatron-Bridge", "Megatron-Bridge, configurations of Ministral 3", "Apache-2.0", date(2026, 11, 22), "https://github.com/NVIDIA-NeMo/Megatron-Bridge"),
        ("github.com/IMvision12/KerasFormers", "KerasFormers, configurations of Cohere's models", "Apache-2.0", date(2026, 11, 22), "https://github.com/IMvision12/KerasFormers"),
        ("github.com/Lightning-AI/litgpt", "litgpt, configuration of Llama 2 70B", "facts only", date(2026, 11, 22), "https://github.com/Lightning-AI/litgpt"),
        ("github.com/NVIDIA/RULER", "Context length of the 08-2024 Command R models, stated in an issue", "facts only", date(2026, 11, 22), "https://github.com/NVIDIA/RULER/issues/60"),
        ("github.com/mistralai/platform-docs-public", "Mistral's documentation, sizes of its open-weight models", "none found", date(2026, 11, 22), "https://github.com/mistralai/platform-docs-public"),
        ("github.com/EuroEval/EuroEval", "Properties of EuroLLM in a posted result", "facts only", date(2026, 11, 22), "https://github.com/EuroEval/EuroEval/issues/615"),
        ("github.com/vikhyat/moondream", "moondream, its configuration class", "none found", date(2026, 11, 22), "https://github.com/vikhyat/moondream"),
        ("github.com/buddy-compiler/buddy-mlir", "Dimensions of bge-reranker-v2-m3 in a pull request", "facts only", date(2026, 11, 22), "https://github.com/buddy-compiler/buddy-mlir/pull/854"),
        ("model card", "Publishers' model cards, as copied in public", "facts only", date(2026, 11, 22), "https://huggingface.co"),
        ("hub-pins", "sizes of Hub files at revisions that public deployments pin", "facts only", date(2026, 11, 22), ""),
    )
)  # fmt: skip


def with_additions(models: list[dict[str, Any]], additions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """``models`` with their gaps filled, and what filled them among their sources; the arguments stay as they are.

    Raises:
        ValueError: an addition is of a model that is not there, or states again what is stated: it fills gaps only.
    """
    filled = {model["id"]: model for model in models}
    for addition in additions:
        name, source, facts = addition["model"], addition["source"], addition.get("facts", {})
        if name not in filled:
            raise ValueError(f"{name}: no such model to add facts to")
        model = filled[name]
        stated = sorted(key for key in facts if not is_gap(model[key]))
        if stated:
            raise ValueError(f"{name}: {', '.join(stated)} already stated")
        filled[name] = {
            **model,
            **{key: {**value, "source": source} if key == "attention" else value for key, value in facts.items()},
            "gguf": model["gguf"] + added_repositories(addition, {each["repo"] for each in model["gguf"]}),
            "sources": [*model["sources"], source],
        }
    return [filled[model["id"]] for model in models]


def is_gap(value: Any) -> bool:
    """Nothing stated, or a layout that is only the default of its class."""
    return value is None or (isinstance(value, dict) and value.get("unverified") is True)


def added_repositories(addition: dict[str, Any], known: set[str]) -> list[dict[str, Any]]:
    repository = addition.get("repository")
    if repository is not None and repository["repo"] in known:
        raise ValueError(f"{addition['model']}: {repository['repo']} already stated")
    return [] if repository is None else [{**repository, "source": addition["source"]}]


def build(models: list[dict[str, Any]], benchmarks: list[dict[str, Any]]) -> Catalogue:
    """The whole catalogue, models and observations in a fixed order."""
    tags = Counter(model["ollama"]["name"] for model in models if model.get("ollama"))
    rows = tuple(sorted((one_model(model, tags) for model in models), key=lambda model: model.id))
    known = {model.id for model in rows}
    observations = [one_observation(row) for row in benchmarks if row["model"] in known and is_ours_to_ship(row)]
    return Catalogue(
        models=rows,
        observations=tuple(sorted(set(observations), key=order_of)),
        generated_at=COLLECTED,
        origin="bundled",
        sources=SOURCES,
    )


def one_model(fact: dict[str, Any], tags: Counter[str]) -> CatalogModel:
    ollama = (fact.get("ollama") or {}).get("name")
    sources = list(fact["sources"])
    if fact.get("active_params_estimated") and active_params(fact) is not None:
        sources.append("llmfit-1.1.17 (active parameters by formula, not as published)")
    return CatalogModel(
        id=fact["id"],
        lineage=fact["lineage"],
        generation=fact["generation"] or "",
        line=fact["line"],
        params=weights(fact["params_b"]),
        active_params=active_params(fact),
        gguf_weights=weights(fact["gguf_weights_b"]),
        architecture=one_architecture(fact),
        context_length=fact["context_length"],
        license=None if fact["license"] in UNNAMED_LICENCES else fact["license"].strip().lower(),
        released=date.fromisoformat(fact["release_date"]) if fact["release_date"] else None,
        capabilities=tuple((name, tuple(sorted(claims))) for name, claims in sorted(fact["capabilities"].items())),
        repositories=tuple(one_repository(each) for each in fact["gguf"]),
        ollama_tag=ollama if tags[ollama] == 1 else None,  # one tag cannot name two models
        generation_rank=fact["generation_rank"] or 0,
        downloads=fact.get("hf_downloads") or 0,
        likes=fact.get("hf_likes") or 0,
        sources=tuple(sources),
    )


def weights(billions: float | None) -> int | None:
    return None if billions is None else round(billions * 1e9)


def active_params(fact: dict[str, Any]) -> int | None:
    """None for one expert (nothing is left idle): such a model is dense."""
    single = (fact.get("moe") or {}).get("experts") == 1
    return None if single else weights(fact["active_params_b"])


def one_architecture(fact: dict[str, Any]) -> Architecture:
    moe, layout = fact.get("moe") or {}, fact.get("attention") or {}
    many = (moe.get("experts") or 0) > 1
    return Architecture(
        name=None if fact["architecture"] in {None, "unknown"} else fact["architecture"],
        layers=fact["n_layers"],
        hidden=fact["hidden_size"],
        heads=fact["n_heads"],
        kv_heads=layout.get("swa_num_key_value_heads") or fact["n_kv_heads"],
        head_dim=layout.get("swa_head_dim") or fact["head_dim"],
        vocab=fact["vocab_size"],
        experts=moe["experts"] if many else None,
        active_experts=moe["active_experts"] if many else None,
        attention=one_attention(fact, layout) if layout else None,
    )


def one_attention(fact: dict[str, Any], layout: dict[str, Any]) -> Attention | None:
    """None for a window in every layer (Mistral 7B v0.1): the runtimes here keep the whole context for it."""
    layers = layout.get("layers") or {}
    total, kind = fact["n_layers"], layout["kind"]
    window_layers = layers.get("sliding_attention", layers.get("chunked_attention"))
    if kind == "swa" and layout.get("global_every") is None and not layers:
        return None
    full, is_guess = full_layers(kind, layers, layout, total)
    shared = layout.get("num_kv_shared_layers") or 0
    return Attention(
        kind=kind,
        full_layers=full,
        window_layers=window_layers,
        window=layout.get("window") or (layout.get("attention_chunk_size") if kind == "chunked" else None),
        global_every=layout.get("global_every") or (total // full if shared and full and total else None),
        kv_lora_rank=layout.get("kv_lora_rank"),
        qk_rope_head_dim=layout.get("qk_rope_head_dim"),
        v_head_dim=layout.get("v_head_dim"),
        global_head_dim=layout.get("global_head_dim"),
        global_kv_heads=layout.get("num_global_key_value_heads")
        or (fact["n_kv_heads"] if layout.get("swa_num_key_value_heads") else None),
        kv_shared_layers=shared,
        state_bytes=state_bytes(layers, layout) or mamba_state_bytes(layers, fact["hidden_size"]),
        unverified=bool(layout.get("unverified")) or is_guess,
        compressed_layers=tuple((int(ratio), count) for ratio, count in (layout.get("compress_ratios") or {}).items()),
        source=layout["source"],
        indexer_head_dim=INDEX_HEAD_DIM if kind == "mla" and layout.get("index_topk") else 0,
    )


def full_layers(
    kind: str, layers: dict[str, int], layout: dict[str, Any], total: int | None
) -> tuple[int | None, bool]:
    """(layers that keep the whole context, whether that is only the class default)."""
    if "full_attention" in layers:
        return layers["full_attention"], False
    if kind in {"mla", "hybrid-mamba-parallel"}:
        return total, False
    if layout.get("attn_layer_period") and total:
        return -(-total // layout["attn_layer_period"]), True
    return None, False


def state_bytes(layers: dict[str, int], layout: dict[str, Any]) -> int:
    """Fixed state of the linear-attention layers, where every dimension is stated; else 0.

    Source: llama.cpp b10605 ``n_embd_r`` (convolution) and ``n_embd_s`` (recurrent state).
    """
    if "linear_num_value_heads" not in layout or "linear_attention" not in layers:
        return 0
    inner = layout["linear_num_value_heads"] * layout["linear_value_head_dim"]
    keys = layout["linear_num_key_heads"] * layout["linear_key_head_dim"]
    convolution = (LINEAR_KERNEL - 1) * (inner + 2 * keys)
    return int(layers["linear_attention"] * (convolution + inner * layout["linear_key_head_dim"]) * STATE_ELEMENT_BYTES)


def mamba_state_bytes(layers: dict[str, int], hidden: int | None) -> int:
    """Fixed state of the Mamba-2 layers where their number is stated, by the defaults of its publication; else 0.

    Only some layers without attention keep one: the others are feed-forward alone.
    """
    return layers.get("mamba", 0) * (hidden or 0) * MAMBA_EXPAND * MAMBA_STATE * STATE_ELEMENT_BYTES


def one_repository(fact: dict[str, Any]) -> Repository:
    exact = bool(fact.get("bytes"))
    return Repository(
        id=fact["repo"],
        builds=builds_of(fact.get("bytes") or fact.get("approx_bytes") or {}, exact=exact),
        source=fact["source"],
    )


def builds_of(sizes: dict[str, int], *, exact: bool) -> tuple[Build, ...]:
    """One per canonical quant; a name already canonical wins over its alias."""
    chosen: dict[str, int] = {}
    for name, size in sorted(sizes.items(), key=lambda item: quant_of(item[0]) == item[0]):
        quant = quant_of(name)
        if quant is None:
            raise ValueError(f"unknown quant {name!r}")
        chosen[quant] = size
    return tuple(
        Build(quant=quant, bytes=Bytes(size), exact=exact)
        for quant, size in sorted(chosen.items(), key=lambda item: (item[1], item[0]))
    )


def is_ours_to_ship(row: dict[str, Any]) -> bool:
    named = f"{row['benchmark']} {row['source']}".lower()
    return not any(word in named for word in NOT_OURS)


def one_observation(row: dict[str, Any]) -> BenchmarkObservation:
    variant = row.get("variant")
    if row.get("edit_format"):
        variant = f"{variant} ({row['edit_format']})" if variant else row["edit_format"]
    return BenchmarkObservation(
        model=row["model"],
        benchmark=row["benchmark"],
        value=float(row["value"]),
        scale=row["scale"],
        source=row["source"],
        observed_at=date.fromisoformat(row["observedAt"]),
        evidence="self-reported" if row["self_reported"] else "direct",
        quant=PRECISIONS.get(row.get("precision", "")),
        release=row.get("release"),
        variant=variant,
    )


def order_of(it: BenchmarkObservation) -> tuple[Any, ...]:
    return (
        it.model,
        it.benchmark,
        it.source,
        it.observed_at,
        it.release or "",
        it.variant or "",
        it.quant or "",
        it.value,
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--facts", type=Path, default=FACTS, help="folder with models.json and benchmarks.json")
    parser.add_argument("--additions", type=Path, default=ADDITIONS, help="facts that fill gaps of the others")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--check", action="store_true", help="only compare; exit 1 where the file would change")
    options = parser.parse_args(arguments)
    inputs = (options.facts / "models.json", options.additions, options.facts / "benchmarks.json")
    models, additions, benchmarks = (json.loads(path.read_text("utf-8")) for path in inputs)
    catalogue = build(with_additions(models, additions), benchmarks)
    text = catalogue_to_json(catalogue)
    if options.check:
        same = options.out.is_file() and options.out.read_text("utf-8") == text
        print(f"{options.out.name}: {'up to date' if same else 'would change'}")
        return 0 if same else 1
    options.out.write_text(text, "utf-8")
    print(
        f"{options.out.name}: {len(catalogue.models)} models, {len(catalogue.observations)} observations, {len(text)} characters"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
