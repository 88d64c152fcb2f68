import copy
import importlib.util
import json
from collections import Counter
from datetime import date
from pathlib import Path

import pytest

from reconciler.domain.catalog import Attention
from reconciler.formats.catalog_json import catalogue_from_json

SCRIPT = Path(__file__).parents[2] / "scripts" / "build_catalog.py"
spec = importlib.util.spec_from_file_location("build_catalog", SCRIPT)
assert spec is not None
assert spec.loader is not None
build_catalog = importlib.util.module_from_spec(spec)
spec.loader.exec_module(build_catalog)

MODEL = {
    "id": "Qwen/Qwen3-8B", "org": "Qwen", "family": "qwen", "lineage": "qwen", "generation": "3", "generation_rank": 3,
    "line": "general", "params_b": 8.191, "active_params_b": None, "moe": None, "architecture": "qwen3", "n_layers": 36,
    "hidden_size": 4096, "n_heads": 32, "n_kv_heads": 8, "head_dim": 128, "vocab_size": 151936, "attention": None,
    "context_length": 40960, "license": "Apache-2.0", "release_date": "2025-04-28",
    "capabilities": {"tools": ["xinference", "llmfit"]},
    "gguf": [{"repo": "unsloth/Qwen3-8B-GGUF", "source": "atomic", "approx_bytes": {"Q8_0": 9, "Q4_K": 4, "Q4_K_M": 5}}],
    "gguf_weights_b": 8.19, "ollama": {"name": "qwen3:8b"}, "sources": ["llmfit-1.1.17"],
}  # fmt: skip
ROW = {
    "model": "Qwen/Qwen3-8B", "benchmark": "ollb2_ifeval", "value": 50, "scale": "0-100", "unit": "percent",
    "source": "board", "observedAt": "2025-06-14", "self_reported": False, "precision": "bfloat16",
}  # fmt: skip


def built(**changes):
    return build_catalog.build([{**copy.deepcopy(MODEL), **changes}], [ROW])


def attention_of(layout, **changes):
    return built(attention={"source": "config", **layout}, **changes).models[0].architecture.attention


def test_one_model():
    (model,) = built().models
    assert (model.params, model.gguf_weights, model.license, str(model.released)) == (
        8_191_000_000, 8_190_000_000, "apache-2.0", "2025-04-28",
    )  # fmt: skip
    assert model.capabilities == (("tools", ("llmfit", "xinference")),)
    assert [(build.quant, build.bytes, build.exact) for build in model.repositories[0].builds] == [
        ("Q4_K_M", 5, False),
        ("Q8_0", 9, False),
    ]


def test_an_alias_is_used_only_where_the_canonical_name_is_missing():
    repository = {"repo": "a/b", "source": "s", "bytes": {"Q4_K": 4}}
    (build,) = built(gguf=[repository]).models[0].repositories[0].builds
    assert (build.quant, build.bytes, build.exact) == ("Q4_K_M", 4, True)


def test_a_quant_without_a_name_we_know_stops_the_build():
    with pytest.raises(ValueError, match="unknown quant 'Z9'"):
        built(gguf=[{"repo": "a/b", "source": "s", "bytes": {"Z9": 1}}])


@pytest.mark.parametrize("licence", [None, "other"])
def test_a_licence_without_a_name_is_unknown(licence):
    assert built(license=licence).models[0].license is None


def test_a_tag_that_names_two_models_names_none():
    twin = {**MODEL, "id": "Qwen/Qwen3-8B-Twin"}
    assert [model.ollama_tag for model in build_catalog.build([MODEL, twin], []).models] == [None, None]


def test_one_expert_is_a_dense_model():
    (model,) = built(moe={"experts": 1, "active_experts": 1}, active_params_b=3.0, active_params_estimated=True).models
    assert not model.is_moe
    assert model.sources == ("llmfit-1.1.17",)


def test_an_estimate_of_active_parameters_says_so():
    (model,) = built(moe={"experts": 8, "active_experts": 2}, active_params_b=2.0, active_params_estimated=True).models
    assert (model.active_params, model.sources[-1]) == (
        2_000_000_000,
        "llmfit-1.1.17 (active parameters by formula, not as published)",
    )


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        (
            {"kind": "swa", "window": 512, "global_every": 6, "layers": {"sliding_attention": 30, "full_attention": 6}},
            Attention("swa", full_layers=6, window_layers=30, window=512, global_every=6, source="config"),
        ),
        ({"kind": "swa", "window": 4096, "global_every": None}, None),
        (
            {"kind": "chunked", "layers": {"chunked_attention": 27, "full_attention": 9}, "attention_chunk_size": 8192},
            Attention("chunked", full_layers=9, window_layers=27, window=8192, source="config"),
        ),
        (
            {"kind": "mla", "kv_lora_rank": 512, "qk_rope_head_dim": 64, "v_head_dim": 128},
            Attention("mla", full_layers=36, kv_lora_rank=512, qk_rope_head_dim=64, v_head_dim=128, source="config"),
        ),
        (
            {"kind": "hybrid-mamba", "attn_layer_period": 8},
            Attention("hybrid-mamba", full_layers=5, unverified=True, source="config"),
        ),
        (
            {"kind": "compressed", "window": 128, "compress_ratios": {"0": 2, "4": 21}},
            Attention("compressed", window=128, compressed_layers=((0, 2), (4, 21)), source="config"),
        ),
        (
            {"kind": "no-attention-layers", "layers": {"full_attention": 30, "none": 6}},
            Attention("no-attention-layers", full_layers=30, source="config"),
        ),
    ],
)
def test_attention(layout, expected):
    assert attention_of(layout) == expected


def test_heads_of_window_layers_are_the_ordinary_ones():
    layout = {
        "kind": "swa", "source": "config", "layers": {"sliding_attention": 27, "full_attention": 9}, "window": 128,
        "swa_num_key_value_heads": 16, "swa_head_dim": 128, "v_head_dim": 64,
    }  # fmt: skip
    architecture = built(attention=layout).models[0].architecture
    assert (architecture.kv_heads, architecture.attention.global_kv_heads) == (16, 8)


def test_observations():
    aider = {**ROW, "benchmark": "aider", "edit_format": "diff", "variant": "x"}
    foreign = {**ROW, "source": "https://artificialanalysis.ai/models"}
    unknown = {**ROW, "model": "no/model"}
    catalogue = build_catalog.build([MODEL], [ROW, aider, foreign, unknown])
    assert [(o.benchmark, o.value, o.quant, o.variant) for o in catalogue.observations] == [
        ("aider", 50.0, "BF16", "x (diff)"),
        ("ollb2_ifeval", 50.0, "BF16", None),
    ]


def test_same_facts_same_bytes(tmp_path):
    (tmp_path / "benchmarks.json").write_text(json.dumps([ROW]))
    (tmp_path / "additions.json").write_text(json.dumps([{"model": "a/b", "source": "x", "facts": {"moe": None}}]))
    out = tmp_path / "out.json"
    call = ["--facts", str(tmp_path), "--additions", str(tmp_path / "additions.json"), "--out", str(out)]
    texts = []
    for models in ([MODEL, {**MODEL, "id": "a/b"}], [{**MODEL, "id": "a/b"}, MODEL]):
        (tmp_path / "models.json").write_text(json.dumps(models))
        assert build_catalog.main(call) == 0
        assert build_catalog.main([*call, "--check"]) == 0
        texts.append(out.read_text())
    assert texts[0] == texts[1]
    assert len(catalogue_from_json(texts[0]).models) == 2
    out.write_text("{}")
    assert build_catalog.main([*call, "--check"]) == 1


def added(*additions, **changes):
    given = [{**copy.deepcopy(MODEL), **changes}]
    untouched = copy.deepcopy(given)
    filled = build_catalog.with_additions(given, [{"model": MODEL["id"], **each} for each in additions])
    assert given == untouched
    return build_catalog.build(filled, []).models[0]


def test_an_addition_fills_gaps_and_is_named_as_a_source():
    model = added(
        {"source": "page", "facts": {"n_layers": 36, "params_b": 8.2}},
        {"source": "hub", "repository": {"repo": "Qwen/Qwen3-8B-GGUF", "bytes": {"Q8_0": 9}}},
        n_layers=None,
        params_b=None,
    )
    assert (model.params, model.architecture.layers, model.architecture.hidden) == (8_200_000_000, 36, 4096)
    assert model.sources == ("llmfit-1.1.17", "page", "hub")
    assert [(each.id, each.source, each.builds[0].exact) for each in model.repositories] == [
        ("unsloth/Qwen3-8B-GGUF", "atomic", False),
        ("Qwen/Qwen3-8B-GGUF", "hub", True),
    ]


def test_an_added_layout_takes_the_place_of_a_class_default_only():
    default = {"kind": "swa", "window": 512, "global_every": 5, "source": "class", "unverified": True}
    seen = {"kind": "swa", "window": 512, "layers": {"sliding_attention": 30, "full_attention": 6}}
    addition = {"source": "page", "facts": {"attention": seen}}
    assert added(addition, attention=default).architecture.attention == Attention(
        "swa", full_layers=6, window_layers=30, window=512, source="page"
    )
    with pytest.raises(ValueError, match="attention already stated"):
        added(addition, attention={**default, "unverified": False})


@pytest.mark.parametrize(
    ("addition", "message"),
    [
        ({"model": "a/b", "source": "x"}, "a/b: no such model"),
        ({"source": "x", "facts": {"vocab_size": 151936, "n_heads": 1}}, "Qwen/Qwen3-8B: n_heads, vocab_size already"),
        ({"source": "x", "repository": {"repo": "unsloth/Qwen3-8B-GGUF"}}, "unsloth/Qwen3-8B-GGUF already stated"),
        ({"source": "x", "facts": {"vocabulary": 1}}, "vocabulary"),
    ],
)
def test_an_addition_that_fills_no_gap_stops_the_build(addition, message):
    with pytest.raises((ValueError, KeyError), match=message):
        added(addition)


def test_every_addition_names_a_dated_source_that_the_catalogue_lists():
    known = tuple(source.id for source in build_catalog.SOURCES)
    for addition in json.loads(build_catalog.ADDITIONS.read_text("utf-8")):
        assert addition["source"].startswith(known), addition["source"]
        assert date.fromisoformat(addition["read"]) <= build_catalog.COLLECTED, addition


def test_the_shipped_file_is_what_the_facts_give():
    if not (build_catalog.FACTS / "models.json").is_file():
        pytest.skip("needs the collected facts beside the repository")
    assert build_catalog.main(["--check"]) == 0


def test_sources_are_named_once():
    assert max(Counter(source.id for source in build_catalog.SOURCES).values()) == 1


def test_every_source_is_documented():
    text = (SCRIPT.parent.parent / "docs" / "data-sources.md").read_text("utf-8")
    assert [source.id for source in build_catalog.SOURCES if f"`{source.id}`" not in text] == []
