from collections import Counter
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from reconciler.domain.catalog import CatalogModel, Catalogue
from reconciler.formats.gguf_names import quant_of
from reconciler.integrations.catalog.bundled import SNAPSHOT, load_bundled

TODAY = date(2026, 12, 1)


@pytest.fixture(scope="module")
def bundled() -> Catalogue:
    return load_bundled()


def model(catalogue: Catalogue, name: str) -> CatalogModel:
    return next(each for each in catalogue.models if each.id == name)


def test_it_is_whole(bundled):
    assert (bundled.origin, bundled.notes, bundled.generated_at) == ("bundled", (), date(2026, 11, 22))
    assert (len(bundled.models), len(bundled.observations)) == (410, 2928)
    assert len({each.id for each in bundled.models}) == 410
    assert {each.model for each in bundled.observations} <= {each.id for each in bundled.models}
    assert all(
        quant_of(build.quant) == build.quant for m in bundled.models for r in m.repositories for build in r.builds
    )


def test_no_repository_and_no_ollama_tag_names_two_models(bundled):
    repositories = Counter(r.id for m in bundled.models for r in m.repositories)
    tags = Counter(m.ollama_tag for m in bundled.models if m.ollama_tag)
    assert max(repositories.values()) == max(tags.values()) == 1


def test_nothing_is_shipped_that_is_not_ours_to_ship(bundled):
    text = " ".join({f"{each.benchmark} {each.source}" for each in bundled.observations}).lower()
    assert "artificial" not in text
    assert not {each.benchmark for each in bundled.observations if each.benchmark.startswith("aa")}


def test_the_small_model_of_our_own_tests_is_there(bundled):
    small = model(bundled, "HuggingFaceTB/SmolLM2-135M-Instruct")
    assert (small.license, small.ollama_tag, small.context_length) == ("apache-2.0", "smollm2:135m", 8192)
    assert {"unsloth/SmolLM2-135M-Instruct-GGUF", "bartowski/SmolLM2-135M-Instruct-GGUF"} <= {
        r.id for r in small.repositories
    }
    sizes = {build.quant: build.bytes for build in small.repositories[0].builds}
    assert sizes["Q4_K_M"] == 105486745


KV_KIB = {
    "meta-llama/Llama-3.1-8B-Instruct": 128,
    "Qwen/Qwen3-8B": 144,
    "Qwen/Qwen2.5-7B-Instruct": 56,
    "Qwen/Qwen3-32B": 256,
    "meta-llama/Llama-3.1-70B-Instruct": 320,
    "Qwen/Qwen3-30B-A3B": 96,
    "Qwen/Qwen3.6-27B": 64,
    "deepseek-ai/DeepSeek-V3": 68.625,
}


@pytest.mark.parametrize(("name", "kib"), KV_KIB.items())
def test_dimensions_give_the_known_cache_per_token(bundled, name, kib):
    it = model(bundled, name).architecture
    layout = it.attention
    layers = layout.full_layers if layout else it.layers
    if layout and layout.kv_lora_rank:
        width = layout.kv_lora_rank + layout.qk_rope_head_dim
    else:
        width = 2 * it.kv_heads * it.head_dim
    assert layers * width * 2 / 1024 == kib


def test_window_layers_of_gemma(bundled):
    it = model(bundled, "google/gemma-3-27b-it").architecture
    assert (it.attention.full_layers, it.attention.window_layers, it.attention.window) == (10, 52, 1024)
    e2b = model(bundled, "google/gemma-4-E2B-it").architecture.attention
    assert (e2b.global_every, e2b.kv_shared_layers, e2b.global_head_dim) == (5, 20, 512)


def test_what_is_not_certain_is_marked(bundled):
    assert model(bundled, "LiquidAI/LFM2-1.2B").architecture.attention.unverified
    assert model(bundled, "ai21labs/AI21-Jamba2-3B").architecture.attention.unverified
    assert model(bundled, "Qwen/Qwen3.5-27B").architecture.attention.state_bytes == 48 * 4 * (
        3 * (6144 + 4096) + 6144 * 128
    )


def test_layers_add_up(bundled):
    for each in bundled.models:
        layout = each.architecture.attention
        if layout and layout.window_layers is not None:
            assert layout.full_layers + layout.window_layers == each.architecture.layers, each.id
        if layout and layout.full_layers and each.architecture.layers:
            assert layout.full_layers <= each.architecture.layers, each.id


def test_every_repository_and_observation_names_a_dated_source(bundled):
    known = tuple(source.id for source in bundled.sources)
    for name in {r.source for m in bundled.models for r in m.repositories} | {o.source for o in bundled.observations}:
        assert name.startswith(known), name


@pytest.mark.parametrize("content", [None, b"", b"{}", b"\xff", b'{"formatVersion": 2}'])
def test_a_damaged_file_falls_back_and_says_why(tmp_path, content):
    path = tmp_path / "snapshot.json"
    if content is not None:
        path.write_bytes(content)
    catalogue = load_bundled(path, today=TODAY)
    assert (catalogue.origin, catalogue.models, catalogue.observations, catalogue.generated_at) == (
        "fallback",
        (),
        (),
        TODAY,
    )
    assert "snapshot.json is not usable (" in catalogue.notes[0]


@given(st.integers(0, SNAPSHOT.stat().st_size - 3))
@settings(max_examples=15, deadline=None)
def test_a_truncated_file_falls_back(tmp_path_factory, length):
    path = tmp_path_factory.mktemp("cut") / "snapshot.json"
    path.write_bytes(SNAPSHOT.read_bytes()[:length])
    assert load_bundled(path, today=TODAY).origin == "fallback"


def test_pydantic_round_trips_it(bundled):
    adapter = TypeAdapter(Catalogue)
    assert adapter.validate_json(adapter.dump_json(bundled, by_alias=True)) == bundled
