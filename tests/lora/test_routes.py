"""Providers, capabilities and routes: what the shipped table says, and what is made of it."""

from __future__ import annotations

from datetime import date

import pytest
from pydantic import ValidationError

from reconciler.domain.advice import VLLM_RANKS
from reconciler.formats.gguf_adapter import AdapterTensor
from reconciler.lora.adapter_config import AdapterConfig
from reconciler.lora.capabilities import CapabilityRow
from reconciler.lora.dialect import DIALECTS, HARN, OURS, Dialect
from reconciler.lora.route_table import Provider, RouteTable
from reconciler.lora.routes import BaseReport, NamedBase, ToolCallingReport, inferred_provider, route_of
from reconciler.lora.served_features import features_of
from reconciler.lora.weights import facts_of
from tests.builders import model
from tests.lora.tables import ROW, TABLE, provider, route, table

RUNTIMES = ("vllm", "llamacpp", "ollama", "sglang", "mlx", "tgi")


class TestTheShippedTable:
    def test_it_holds_every_runtime_and_the_origins_external_providers(self) -> None:
        assert {*RUNTIMES, "lm-studio", "local", "openai"} <= {one.id for one in TABLE.providers}

    def test_ranks_of_vllm_are_one_list(self) -> None:
        """The file's rules and a plan's commands have them from the domain, which reads no table."""
        assert {one.allowed_ranks for one in TABLE.providers if one.id == "vllm"} == {VLLM_RANKS}

    def test_every_row_has_a_source_and_a_date(self) -> None:
        for row in (*TABLE.providers, *TABLE.capabilities, *TABLE.bases):
            assert row.source.strip(), row
            assert date(2026, 1, 1) <= row.verified <= date(2027, 1, 1)

    def test_no_name_means_two_providers(self) -> None:
        names = [name for one in TABLE.providers for name in (one.id, *one.aliases)]
        assert len(names) == len(set(names))
        assert all(name == name.lower().replace("_", "-") for name in names)

    def test_vllm_takes_these_ranks_and_no_others(self) -> None:
        vllm = TABLE.provider("vllm")
        assert vllm is not None
        assert vllm.allowed_ranks == (1, 8, 16, 32, 64, 128, 256, 320, 512)
        assert (vllm.default_max_rank, vllm.value_format) == (16, "json_with_base_model")
        assert (vllm.supports_dora, vllm.supports_modules_to_save, vllm.supports_rslora) == (False, False, True)
        assert vllm.hot_load is not None
        assert vllm.hot_load.needs == "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True"

    @pytest.mark.parametrize(
        ("name", "launches", "limits", "value_format"),
        [
            ("vllm", True, True, "json_with_base_model"),
            ("llamacpp", True, False, "path"),
            ("ollama", False, False, "name_path"),
            ("sglang", True, True, "name_path"),
            ("mlx", True, False, "path"),
            ("tgi", True, False, "name_path"),
            ("lm-studio", False, False, "name_path"),
            ("openai", False, False, "name_path"),
        ],
    )
    def test_what_a_provider_is_started_with(self, name: str, launches: bool, limits: bool, value_format: str) -> None:
        found = TABLE.provider(name)
        assert found is not None
        assert (found.launches_lora, found.limits_rank, found.value_format) == (launches, limits, value_format)

    @pytest.mark.parametrize("name", RUNTIMES)
    def test_the_origins_launcher_knows_adapters_of_vllm_alone(self, name: str) -> None:
        found = TABLE.provider(name)
        assert found is not None
        assert found.seen_by(HARN).launches_lora is (name == "vllm")
        assert found.seen_by(OURS) == found

    @pytest.mark.parametrize(
        ("typed", "meant"),
        [
            ("ollama", "ollama"), ("local-ollama", "ollama"), ("llamacpp", "llamacpp"), ("llama.cpp", "llamacpp"),
            ("llama-cpp", "llamacpp"), ("local-llamacpp", "llamacpp"), ("local-llama.cpp", "llamacpp"),
            ("local-llama-cpp", "llamacpp"), ("mlx", "mlx"), ("local-mlx", "mlx"), ("vllm", "vllm"),
            ("local-vllm", "vllm"), ("vllm-local", "vllm"), ("LOCAL_VLLM", "vllm"), (" Llama_CPP ", "llamacpp"),
            ("llama-server", "llamacpp"), ("lm_studio", "lm-studio"), ("somebody", "somebody"),
        ],
    )  # fmt: skip
    def test_a_provider_by_any_spelling(self, typed: str, meant: str) -> None:
        assert TABLE.provider_id(typed) == meant


class TestRows:
    def test_an_adapter_flag_needs_the_format_of_its_value(self) -> None:
        with pytest.raises(ValidationError, match="go together"):
            provider(lora_modules_arg="--lora")
        with pytest.raises(ValidationError):
            provider(lora_modules_arg="--lora", lora_modules_value_format=" ")

    def test_ranks_ascend(self) -> None:
        with pytest.raises(ValidationError, match="ascend"):
            provider(allowed_ranks=(8, 1))

    def test_a_row_without_a_source_is_none(self) -> None:
        with pytest.raises(ValidationError):
            CapabilityRow.model_validate({"provider": "*", "models": ["*"], "verified": "2026-01-01"})

    @pytest.mark.parametrize(
        ("rank", "limit"), [(1, 1), (2, 8), (16, 16), (24, 32), (257, 320), (512, 512), (513, None)]
    )
    def test_a_rank_is_rounded_up_to_what_is_allowed(self, rank: int, limit: int | None) -> None:
        vllm = TABLE.provider("vllm")
        assert vllm is not None
        assert vllm.rank_for(rank) == limit

    def test_any_rank_goes_where_none_are_listed(self) -> None:
        assert provider().rank_for(1000) == 1000

    @pytest.mark.parametrize(
        ("pattern", "base", "means"),
        [
            ("acme/coyote-*", "acme/coyote-8b", True),
            ("ACME/Coyote-8B", "acme/coyote-8b", True),
            ("coyote-8b", "acme/coyote-8b", True),
            ("coyote", "acme/coyote-8b", False),
            ("acme/coyote-8b", "acme/coyote-8b-instruct", False),
        ],
    )
    def test_a_row_means_bases_by_anchored_globs(self, pattern: str, base: str, means: bool) -> None:
        row = CapabilityRow.model_validate({"provider": "vllm", "models": [pattern], **ROW})
        assert row.means("vllm", base, OURS) is means
        assert not row.means("tgi", base, OURS)

    def test_a_row_of_one_dialect_is_of_no_other(self) -> None:
        row = CapabilityRow.model_validate({"provider": "*", "models": ["*"], "dialects": ["harn"], **ROW})
        assert row.means("vllm", "x", HARN)
        assert not row.means("vllm", "x", OURS)


class TestRoute:
    def test_what_nobody_says_is_none(self) -> None:
        found = route("acme/new")
        assert (found.tier, found.family, found.lineage, found.catalog_name, found.context_window) == (None,) * 5
        assert set(ToolCallingReport.of(found).model_dump().values()) == {None}

    def test_the_origin_has_no_unknown(self) -> None:
        calls = ToolCallingReport.of(route("acme/new", dialect=HARN))
        assert (calls.native_tools, calls.text_tool_wire_format_supported, calls.structured_output_mode) == (
            False,
            True,
            "none",
        )

    def test_facts_come_from_the_catalogue(self) -> None:
        found = route("acme/coyote-8b-instruct", model=model())
        assert (found.family, found.lineage, found.catalog_name, found.context_window) == (
            "coyote-3",
            "coyote",
            "coyote-8b-instruct",
            32_768,
        )
        assert found.resolved_alias is None

    def test_the_name_it_was_found_by_is_told(self) -> None:
        found = route_of(NamedBase("coyote", "acme/coyote", model("acme/coyote")), "vllm", TABLE, OURS)
        assert (found.selector, found.id, found.resolved_alias) == ("coyote", "acme/coyote", "coyote")

    @pytest.mark.parametrize(
        ("dialect", "known", "expected"),
        [
            (OURS, {}, "native"),
            (HARN, {}, "json"),
            (HARN, {"native_tools": True}, "native"),
            (HARN, {"preferred_tool_format": "text", "native_tools": True}, "text"),
            (OURS, {"preferred_tool_format": "json"}, "json"),
        ],
    )
    def test_the_default_format_of_a_route(self, dialect: Dialect, known: dict[str, object], expected: str) -> None:
        assert route(dialect=dialect, **known).tool_format == expected

    def test_a_base_of_the_table_has_its_own_default(self) -> None:
        row = {"alias": "mine", "id": "mine-8b", "provider": "local", "tool_format": "text", "tier": "small", **ROW}
        known = RouteTable.model_validate({"format_version": 1, "providers": [], "capabilities": [], "bases": [row]})
        base = NamedBase("mine", "mine-8b", alias=known.base("MINE"))
        found = route_of(base, None, known, HARN)
        assert (found.tool_format, found.tier, found.provider, found.resolved_alias) == (
            "text",
            "small",
            "local",
            "mine",
        )

    @pytest.mark.parametrize(
        ("name", "gemma4", "function"),
        [
            ("google/gemma-4-E4B-it", True, False),
            ("GEMMA4:e4b", True, False),
            ("google/functiongemma-270m-it", False, True),
            ("google/gemma-3-4b-it", False, False),
        ],
    )
    def test_gemma_routes_by_their_name(self, name: str, gemma4: bool, function: bool) -> None:
        found = route(name)
        assert (found.is_gemma4, found.is_function_gemma) == (gemma4, function)

    def test_gemma_routes_by_family(self) -> None:
        assert route("acme/tuned", model=model("acme/tuned", lineage="gemma-4")).is_gemma4

    def test_reports_show_it_in_the_origins_order(self) -> None:
        assert list(BaseReport.model_fields) == [
            "selector", "id", "provider", "resolved_alias", "tool_format", "tier", "family", "lineage", "catalog_name",
            "context_window",
        ]  # fmt: skip
        assert list(ToolCallingReport.model_fields) == [
            "native_tools", "preferred_tool_format", "text_tool_wire_format_supported", "structured_output_mode",
            "recommended_endpoint",
        ]  # fmt: skip


class TestInferred:
    @pytest.mark.parametrize(
        ("base", "expected"),
        [
            (NamedBase("a/m", "a/m", model("a/m")), "vllm"),
            (NamedBase("a/m-GGUF", "a/m", model("a/m"), format="gguf"), "llamacpp"),
            (NamedBase("a/m-MLX", "a/m", model("a/m"), format="mlx"), "mlx"),
            (NamedBase("a/m", "a/m", model("a/m"), format="safetensors"), "vllm"),
            (NamedBase("m:8b", "a/m", model("a/m"), format="ollama"), "ollama"),
            (NamedBase("openai/large", "openai/large"), "openai"),
            (NamedBase("a/unknown", "a/unknown"), None),
        ],
    )
    def test_who_serves_a_base_by_what_was_named(self, base: NamedBase, expected: str | None) -> None:
        assert inferred_provider(base, TABLE, OURS) == expected
        found = route_of(base, " ", TABLE, OURS)
        assert (found.provider, found.is_inferred) == (expected or "vllm", True)

    def test_the_origin_takes_a_local_server(self) -> None:
        assert inferred_provider(NamedBase("a/m", "a/m", model("a/m")), TABLE, HARN) == "local"

    def test_what_was_typed_wins(self) -> None:
        found = route_of(NamedBase("openai/large", "openai/large"), "SGLANG", TABLE, OURS)
        assert (found.provider, found.is_inferred) == ("sglang", False)

    def test_an_unknown_provider_has_no_facts(self) -> None:
        found = route_of(NamedBase("a/m", "a/m"), "somebody", table(), OURS)
        assert (found.runtime, found.launches_lora, found.limits_rank, found.value_format) == (
            None,
            False,
            False,
            "name_path",
        )


def test_both_dialects_are_complete_and_know_their_names() -> None:
    assert {name: one.name for name, one in DIALECTS.items()} == {"localmodels": "localmodels", "harn": "harn"}


@pytest.mark.parametrize(
    ("name", "dora", "rslora", "saved", "bias", "ranks", "alphas"),
    [
        ("vllm", False, True, False, False, True, True),
        ("llamacpp", False, False, False, False, True, False),
        ("tgi", False, True, False, False, False, False),
        ("mlx", True, None, None, None, None, None),
        ("sglang", None, None, None, None, None, None),
    ],
)  # fmt: skip
def test_what_runtimes_do_with_adapters_beyond_plain_pairs(
    name: str,
    dora: bool | None,
    rslora: bool | None,
    saved: bool | None,
    bias: bool | None,
    ranks: bool | None,
    alphas: bool | None,
) -> None:
    found = TABLE.provider(name)
    assert found is not None
    assert (found.supports_dora, found.supports_rslora, found.supports_modules_to_save) == (dora, rslora, saved)
    assert (found.supports_bias, found.supports_rank_pattern, found.supports_alpha_pattern) == (bias, ranks, alphas)


@pytest.mark.parametrize(
    ("name", "init", "alora", "bdlora", "qalora"),
    [
        ("vllm", False, False, False, False),
        ("llamacpp", None, True, None, None),
        ("sglang", None, None, None, None),
    ],
)
def test_what_runtimes_do_with_adapters_that_are_no_plain_lora(
    name: str, init: bool | None, alora: bool | None, bdlora: bool | None, qalora: bool | None
) -> None:
    found = TABLE.provider(name)
    assert found is not None
    assert (found.supports_init_lora_weights, found.supports_alora) == (init, alora)
    assert (found.supports_bdlora, found.supports_qalora) == (bdlora, qalora)


@pytest.mark.parametrize("since", [{"dora": "0.32.0"}, {"rank_pattern": "new"}, {"nothing": "0.32.0"}])
def test_only_what_is_taken_has_a_first_version(since: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="since"):
        provider("served", supports_rank_pattern=True, supports_dora=False, since=since)


@pytest.mark.parametrize(
    ("name", "turned", "layers", "stacks", "tokens", "vocabulary", "shards"),
    [
        ("vllm", None, False, None, False, False, False),
        ("llamacpp", False, False, False, False, False, False),
        ("tgi", None, False, False, False, False, True),
        ("mlx", None, None, None, None, None, False),
        ("sglang", None, False, None, None, None, True),
        ("ollama", None, None, None, None, None, None),
    ],
)  # fmt: skip
def test_what_runtimes_do_with_what_few_adapters_have(
    name: str,
    turned: bool | None,
    layers: bool | None,
    stacks: bool | None,
    tokens: bool | None,
    vocabulary: bool | None,
    shards: bool | None,
) -> None:
    found = TABLE.provider(name)
    assert found is not None
    assert (found.supports_fan_in_fan_out, found.supports_layer_replication) == (turned, layers)
    assert (found.supports_target_parameters, found.supports_trainable_tokens) == (stacks, tokens)
    assert (found.supports_extra_vocabulary, found.supports_shards) == (vocabulary, shards)


def test_every_feature_an_adapter_can_have_is_looked_up_in_the_table() -> None:
    config = AdapterConfig(
        use_dora=True, use_rslora=True, modules_to_save=("x",), bias="all", rank_pattern={"x": 1}, alpha_pattern={"x": 1},
        fan_in_fan_out=True, layer_replication=((0, 1),), target_parameters=("x",), trainable_tokens=1,
        changing_init="pissa", alora_tokens=1, use_bdlora=True, use_qalora=True,
    )  # fmt: skip
    rows = [AdapterTensor("base_model.model.model.embed_tokens.weight", "F32", (40, 16))]
    used = features_of(facts_of(rows, "safetensors", files=2), config)
    assert len(used) == 16
    fields = {each for each in Provider.model_fields if each.startswith("supports_")}
    assert {f"supports_{name}" for name in used} == fields


@pytest.mark.parametrize(
    ("at", "base", "native"),
    [
        ("sglang", "Qwen/Qwen3-8B", True),
        ("sglang", "Qwen/Qwen3-4B-Instruct-2507", True),
        ("sglang", "Qwen/Qwen3-Embedding-8B", None),
        ("sglang", "Qwen/Qwen3-VL-8B-Instruct", None),
        ("llamacpp", "Qwen/Qwen2.5-7B-Instruct", True),
        ("llamacpp", "meta-llama/Llama-3.2-3B-Instruct", True),
        ("llamacpp", "Qwen/Qwen3-Embedding-8B", None),
        ("llamacpp", "acme/nobody-knows", None),
    ],
)
def test_native_tools_are_a_yes_only_of_what_a_source_names(at: str, base: str, native: bool | None) -> None:
    assert route_of(NamedBase(base, base), at, TABLE, OURS).capabilities.native_tools is native
