"""``lora plan``: validation in its order, sections, warnings in their order, and what the origin does not look at."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.engine.lora.plan import LoraPlan, PlanRequest, plan_training
from reconciler.errors import ReconcilerError, UsageError
from reconciler.lora.contract import Contract, TargetModules, ToolCatalog
from reconciler.lora.dialect import DIALECTS, HARN, OURS, Dialect
from reconciler.lora.route_table import RouteTable
from tests.builders import catalogue, model
from tests.lora.tables import TABLE, table

GEMMA = model("google/gemma-4-E4B-it", lineage="gemma-4", repos=("packer/gemma-4-E4B-it-GGUF",))
FUNCTION = model("google/functiongemma-270m-it", lineage="gemma")
KNOWN = catalogue(model("acme/coyote-8b"), GEMMA, FUNCTION)
SECTIONS = [
    "ok", "base", "request", "tool_calling", "training", "precision", "template", "data", "corpus_refresh", "evaluation",
    "serving", "launch", "warnings",
]  # fmt: skip


def plan(dialect: Dialect = OURS, known: RouteTable = TABLE, **asked: Any) -> LoraPlan:
    return plan_training(PlanRequest(**{"base": "acme/coyote-8b", "provider": "vllm"} | asked), KNOWN, known, dialect)


def harn(known: RouteTable = TABLE, **asked: Any) -> LoraPlan:
    return plan(HARN, known, **{"base": "local-gemma4-e4b", "provider": "local-vllm"} | asked)


def codes(found: LoraPlan) -> list[str]:
    """Of every finding but that nobody knows a made-up base's tool calls."""
    return [one.code for one in found.findings if one.code != "native_unknown"]


def after(argv: tuple[str, ...], flag: str) -> str:
    return argv[argv.index(flag) + 1]


class TestValidation:
    def test_defaults(self) -> None:
        found = plan()
        assert (found.request.method, found.request.requested_tool_format) == ("qlora", "auto")
        assert found.request.requested_corpus_strategy == "auto"
        assert (found.training.rank, found.training.alpha, found.training.dropout) == (16, 32, 0.05)
        assert (found.request.corpus, found.request.teacher) == (None, None)

    def test_words_count_in_any_case_and_between_blanks(self) -> None:
        found = plan(method=" LoRA ", tool_format=" Native", corpus_strategy="Audit-Only ", corpus="  ./c  ")
        assert (found.request.method, found.request.requested_tool_format) == ("lora", "native")
        assert (found.request.requested_corpus_strategy, found.request.corpus) == ("audit-only", "./c")

    def test_a_blank_corpus_is_none(self) -> None:
        assert plan(corpus="  ").request.corpus is None

    WRONG = (
        ({"method": "full"}, "--method is 'full'"),
        ({"rank": 0}, "--rank is 0"),
        ({"alpha": 0}, "--alpha is 0"),
        ({"dropout": 1.0}, "--dropout is 1"),
        ({"tool_format": "xml"}, "--tool-format is 'xml'"),
        ({"corpus_strategy": "more"}, "--corpus-strategy is 'more'"),
        ({"tool_catalog_policy": "none"}, "--tool-catalog-policy is 'none'"),
        ({"modules_to_save": ("",)}, "--modules-to-save has an empty name"),
        ({"base": "nothing"}, "nothing in the catalogue is called nothing"),
    )

    @pytest.mark.parametrize(("asked", "message"), WRONG)
    def test_each_value_that_cannot_be(self, asked: dict[str, Any], message: str) -> None:
        with pytest.raises(UsageError) as caught:
            plan(**asked)
        assert caught.value.message == message
        assert caught.value.hint

    @pytest.mark.parametrize("first", range(len(WRONG)))
    def test_the_first_of_several_is_told(self, first: int) -> None:
        asked: dict[str, Any] = {}
        for wrong, _ in self.WRONG[first:]:
            asked |= wrong
        with pytest.raises(UsageError) as caught:
            plan(**asked)
        assert caught.value.message == self.WRONG[first][1]

    @pytest.mark.parametrize("dropout", [-0.1, 1.0, float("nan"), float("inf")])
    def test_dropout_is_finite_and_below_one(self, dropout: float) -> None:
        with pytest.raises(UsageError, match="--dropout"):
            plan(dropout=dropout)


class TestReport:
    def test_sections_stand_in_the_origins_order_and_ours_behind_them(self) -> None:
        assert list(LoraPlan.model_fields) == [*SECTIONS, "contract_id", "findings"]
        document = harn().model_dump(by_alias=False)
        assert list(document)[: len(SECTIONS)] == SECTIONS
        assert list(document["request"]) == [
            "method", "requested_tool_format", "effective_tool_format", "tool_format_correction", "corpus",
            "requested_corpus_strategy", "effective_corpus_strategy", "teacher",
        ]  # fmt: skip

    def test_it_is_pure(self) -> None:
        assert plan(corpus="/nowhere/at/all", teacher="acme/coyote-8b") == plan(
            corpus="/nowhere/at/all", teacher="acme/coyote-8b"
        )

    def test_native_gemma_4_and_json_have_different_templates(self) -> None:
        native, text = (harn(tool_format=one).template for one in ("native", "json"))
        assert (native.name, text.name) == ("gemma4_native_function_calling", "harn_text_tool_calls_json_fences")
        assert native.supervised_target != text.supervised_target

    def test_function_gemma_goes_before_gemma_4_everywhere(self) -> None:
        found = plan(base="google/functiongemma-270m-it", method="lora")
        assert found.template.name == "functiongemma_control_tokens"
        assert found.template.stop_sequences == ("<start_function_response>",)
        assert found.training.target_modules.modules == ("q_proj", "k_proj", "v_proj", "o_proj")
        assert found.launch.local_launch_command[-1] == "functiongemma"

    @pytest.mark.parametrize(
        ("base", "method", "policy", "count"),
        [
            ("acme/coyote-8b", "qlora", "all_linear", 1),
            ("acme/coyote-8b", "lora", "route_default", 4),
            ("google/gemma-4-E4B-it", "lora", "route_default", 7),
        ],
    )
    def test_target_modules(self, base: str, method: str, policy: str, count: int) -> None:
        found = plan(base=base, method=method).training.target_modules
        assert (found.policy, len(found.modules)) == (policy, count)

    def test_rank_24(self) -> None:
        found = harn(rank=24, dropout=0.1)
        assert (found.training.rank, found.training.alpha, found.training.dropout) == (24, 48, 0.1)
        assert after(found.launch.local_launch_command, "--max-lora-rank") == "24"
        assert harn(rank=24, alpha=12).training.alpha == 12

    def test_the_serving_recipe_of_a_runtime_and_of_somebody_elses_server(self) -> None:
        here, there = harn().serving, harn(provider="openai").serving
        assert (here.adapter_binding, here.lora_module_value_format) == ("runtime_lora_adapter", "json_with_base_model")
        assert (there.adapter_binding, there.lora_module_value_format) == (
            "external_runtime_or_merged_adapter",
            "name_path",
        )

    def test_the_route_keeps_its_default_format_whatever_counts(self) -> None:
        found = harn(tool_format="native")
        assert (found.base.tool_format, found.request.effective_tool_format) == ("json", "native")

    def test_the_contract_id_is_that_of_its_parts(self) -> None:
        fences = "harn_text_tool_calls_json_fences"
        assert harn().contract_id == Contract("gemma-4-e4b-it", "vllm", "json", fences, fences).id
        found = plan(method="lora", target_modules=("q_proj",), modules_to_save=("lm_head",), provider="tgi")
        assert found.contract_id == Contract(
            "acme/coyote-8b", "tgi", "native", "messages_with_tool_calls", "native_messages_with_tools",
            TargetModules("explicit", ("q_proj",)), ("lm_head",),
        ).id  # fmt: skip

    def test_a_teacher_is_resolved_as_a_base_is(self) -> None:
        found = harn(teacher="dashscope/qwen3-coder-next", corpus="./c").request.teacher
        assert found is not None
        assert (found.selector, found.id, found.provider, found.tool_format) == (
            "dashscope/qwen3-coder-next", "dashscope/qwen3-coder-next", "dashscope", "json",
        )  # fmt: skip
        ours = plan(teacher="google/gemma-4-e4b-it").request.teacher
        assert ours is not None
        assert (ours.id, ours.provider, ours.lineage) == ("google/gemma-4-E4B-it", "vllm", "gemma-4")

    def test_a_teacher_nobody_knows_is_recorded_as_it_is_written(self) -> None:
        found = plan(teacher="gpt-large")
        assert found.request.teacher is not None
        assert (found.request.teacher.id, found.request.teacher.provider) == ("gpt-large", None)
        assert "teacher_unknown" in codes(found)
        assert found.ok

    def test_a_blank_teacher_counts_in_the_origin_and_is_an_error_here(self) -> None:
        assert harn(teacher=" ").request.effective_corpus_strategy == "distill"
        with pytest.raises(UsageError, match="--teacher is empty"):
            plan(teacher=" ")


class TestCommands:
    def test_the_origins(self) -> None:
        found = harn(corpus="./lora-corpus")
        where = ("--base", "local-gemma4-e4b", "--provider", "vllm")
        assert found.launch.export_command[:20] == (
            "harn", "models", "lora", "export", *where, "--tool-format", "json", "--corpus", "./lora-corpus",
            "--out", "ADAPTER_DATASET.jsonl", "--manifest", "ADAPTER_DATASET.manifest.json",
            "--adapter-name", "ADAPTER_NAME", "--chat-template", "harn_text_tool_calls_json_fences",
        )[:20]  # fmt: skip
        assert found.launch.export_command[-8::2] == ("--target-metadata",) * 4
        assert [word.partition("=")[0] for word in found.launch.export_command[-7::2]] == [
            "training_base_precision", "training_compute_precision", "adapter_weight_precision",
            "serving_base_precision",
        ]  # fmt: skip
        assert found.launch.inspect_command == (
            "harn", "models", "lora", "inspect", *where, "--name", "ADAPTER_NAME", "ADAPTER_PATH_OR_REPO",
        )  # fmt: skip
        assert found.launch.local_launch_command == (
            "harn", "local", "launch", "local-gemma4-e4b", "--provider", "vllm", "--model-source", "gemma-4-e4b-it",
            "--lora-adapter", "ADAPTER_NAME=ADAPTER_PATH_OR_REPO", "--max-lora-rank", "16",
        )  # fmt: skip
        assert found.launch.request_model == "ADAPTER_MODEL"
        assert found.evaluation.eval_command[-1] == "./lora-corpus"

    def test_ours_are_run_by_our_program_and_the_runtimes_own(self) -> None:
        found = plan(tool_format="json")
        assert found.launch.export_command[:3] == ("localmodels", "lora", "export")
        assert found.launch.preflight_command[:3] == ("localmodels", "lora", "preflight")
        assert after(found.launch.preflight_command, "--corpus") == "CORPUS_JSONL_OR_DIR"
        assert found.launch.local_launch_command[:3] == ("vllm", "serve", "acme/coyote-8b")
        assert found.evaluation.eval_command == ()

    def test_an_export_makes_the_plans_contract(self) -> None:
        found = plan(
            method="lora",
            target_modules=("v_proj,q_proj",),
            modules_to_save=("lm_head",),
            provider="tgi",
            tool_catalog_policy="compressed_names",
            tool_catalog_id="tools",
        ).launch.export_command
        for flag, value in (
            ("--method", "lora"),
            ("--target-modules", "q_proj,v_proj"),
            ("--modules-to-save", "lm_head"),
            ("--tool-catalog-policy", "compressed_names"),
            ("--tool-catalog-id", "tools"),
        ):
            assert after(found, flag) == value

    def test_files_stand_for_files_where_the_runtime_takes_files(self) -> None:
        found = plan(base="packer/gemma-4-E4B-it-GGUF", provider=None)
        assert found.launch.local_launch_command == (
            "llama-server", "--hf-repo", "packer/gemma-4-E4B-it-GGUF", "--lora", "ADAPTER.gguf", "--jinja",
        )  # fmt: skip
        assert {"adapter_conversion", "provider_inferred"} <= set(codes(found))


class TestWarnings:
    def test_all_of_the_origins_stand_in_its_order(self) -> None:
        known = table(tool_mode_parity="native_only", native_tools=False)
        found = harn(known, base="acme/m", provider="x", tool_format="text", corpus_strategy="refresh")
        assert codes(found) == ["tool_format_corrected", "native_unsupported", "runtime_no_lora", "teacher_missing"]
        assert len(found.warnings) == 4
        assert found.warnings[0] == found.request.tool_format_correction
        assert found.ok

    def test_native_steered_away(self) -> None:
        known = table(*TABLE.providers, tool_mode_parity="native_unreliable")
        found = harn(known, tool_format="native")
        assert codes(found) == ["tool_format_corrected", "native_steered"]
        assert found.request.effective_tool_format == "json"

    def test_native_where_nobody_lists_it(self) -> None:
        assert codes(harn(tool_format="native")) == ["native_unsupported"]
        assert codes(plan()) == []

    @pytest.mark.parametrize(
        ("asked", "expected"),
        [
            ({"corpus_strategy": "distill"}, ["teacher_missing"]),
            ({"corpus_strategy": "refresh"}, ["teacher_missing"]),
            ({"corpus_strategy": "audit-only", "teacher": "x/y"}, ["teacher_idle"]),
            ({"teacher": "x/y"}, []),
            ({"provider": "openai"}, ["runtime_no_lora"]),
            ({"provider": "llamacpp"}, ["runtime_no_lora"]),
            ({"rank": 24}, []),
            ({"modules_to_save": ("lm_head",)}, []),
        ],
    )
    def test_each_of_the_origins(self, asked: dict[str, Any], expected: list[str]) -> None:
        found = harn(**asked)
        assert codes(found) == expected
        assert found.ok

    def test_a_warning_names_the_provider(self) -> None:
        assert "openai" in harn(provider="openai").warnings[0]
        assert harn(provider="openai").launch.local_launch_command == ()


class TestWhatTheOriginDoesNotLookAt:
    def test_a_rank_the_runtime_has_no_limit_for(self) -> None:
        found = plan(rank=24)
        assert codes(found) == ["rank_rounded"]
        assert (found.ok, found.warnings, found.launch.max_lora_rank) == (True, (), 32)

    def test_a_rank_above_every_limit(self) -> None:
        found = plan(rank=1024)
        assert (codes(found), found.ok) == (["rank_too_large"], False)
        assert plan(rank=1024, provider="sglang").ok

    def test_modules_the_runtime_refuses(self) -> None:
        found = plan(modules_to_save=("lm_head",))
        assert (codes(found), found.ok) == (["modules_to_save_refused"], False)

    def test_a_base_nobody_knows(self) -> None:
        found = plan(base="somebody/new")
        assert (codes(found), found.base.context_window) == (["base_unknown"], None)

    def test_a_provider_nobody_knows(self) -> None:
        found = plan(provider="vlm")
        assert codes(found) == ["runtime_no_lora", "provider_unknown"]
        assert found.findings[1].hint == "did you mean vllm?"

    def test_a_runtime_that_takes_no_adapters_of_this_kind(self) -> None:
        assert codes(plan(provider="mlx")) == ["adapter_format_differs", "launch_caveat"]
        assert codes(plan(provider="llamacpp")) == ["adapter_conversion"]

    def test_what_a_runtime_without_adapters_can_do(self) -> None:
        assert "0.34.1" in str(plan(provider="ollama").findings[0].hint)

    def test_native_calls_that_no_source_speaks_of(self) -> None:
        (found,) = plan().findings
        assert (found.code, found.severity) == ("native_unknown", "note")
        assert plan(tool_format="json").findings == ()
        assert plan(OURS, table(*TABLE.providers, native_tools=True)).findings == ()

    def test_an_ollama_is_given_no_file_for_it_is_not_started_with_one(self) -> None:
        found = plan(provider="ollama").launch
        assert (found.inspect_command[-1], found.local_launch_command) == ("ADAPTER_PATH_OR_REPO", ())

    def test_native_calls_at_llama_cpp_need_its_templates(self) -> None:
        native, text = (plan(provider="llamacpp", tool_format=one) for one in ("native", "json"))
        assert native.launch.local_launch_command[-1] == "--jinja"
        assert "--jinja" not in text.launch.local_launch_command
        assert native.tool_calling.native_tools is None, "no source names a made-up base"


_WORDS = st.one_of(
    st.sampled_from(["auto", "native", "text", "json", "qlora", "lora", "distill", ""]), st.text(max_size=8)
)


@given(
    base=st.one_of(st.sampled_from(["acme/coyote-8b", "google/gemma-4-E4B-it", "a/b", "local-gemma4-e4b"]), _WORDS),
    provider=st.one_of(st.none(), st.sampled_from([one.id for one in TABLE.providers]), _WORDS),
    words=st.tuples(_WORDS, _WORDS, _WORDS),
    rank=st.integers(-1, 2**33),
    alpha=st.none() | st.integers(-1, 2**33),
    dropout=st.floats(),
    teacher=st.none() | _WORDS,
    dialect=st.sampled_from(list(DIALECTS.values())),
)
def test_any_request_is_planned_or_refused_with_a_sentence(
    base: str,
    provider: str | None,
    words: tuple[str, str, str],
    rank: int,
    alpha: int | None,
    dropout: float,
    teacher: str | None,
    dialect: Dialect,
) -> None:
    request = PlanRequest(base, provider, words[0], None, teacher, words[1], words[2], rank, alpha, dropout)
    for one in (request, replace(request, tool_format="auto", corpus_strategy="auto", method="qlora", rank=8, alpha=None, dropout=0.0)):  # fmt: skip
        found = planned_or_refused(one, dialect)
        if isinstance(found, LoraPlan):
            assert found.contract_id.startswith("sha256:")
            assert LoraPlan.model_validate_json(found.model_dump_json()) == found
            assert found.ok or dialect is OURS
        else:
            assert found.message
            assert found.hint


def planned_or_refused(request: PlanRequest, dialect: Dialect) -> LoraPlan | ReconcilerError:
    try:
        return plan_training(request, KNOWN, TABLE, dialect)
    except ReconcilerError as error:
        return error


def test_the_same_contract_in_both_dialects_has_the_same_id() -> None:
    ours = plan(base="somebody/gemma-4-tuned", tool_format="json")
    theirs = harn(base="somebody/gemma-4-tuned", tool_format="json")
    assert ours.contract_id == theirs.contract_id
    assert ToolCatalog().policy == ours.training.contract.tool_catalog.policy
