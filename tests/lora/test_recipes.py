"""Training, precision, template, data, examples, evaluation and serving: every row of the decision tables."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.errors import UsageError
from reconciler.lora.contract import TargetModules, ToolCatalog
from reconciler.lora.dialect import HARN, OURS
from reconciler.lora.evaluation import Teacher, corpus_refresh_of, effective_strategy, evaluation_of
from reconciler.lora.serving import adapter_binding, serving_of
from reconciler.lora.template import data_of, template_of
from reconciler.lora.training import (
    LARGEST,
    Method,
    Training,
    checked_alpha,
    checked_dropout,
    checked_rank,
    precision_of,
    training_contract,
    training_of,
)
from tests.builders import model
from tests.lora.tables import route

TEACHER = Teacher(
    selector="t",
    id="acme/teacher",
    provider="vllm",
    resolved_alias=None,
    tool_format="native",
    family=None,
    lineage=None,
)


class TestNumbers:
    @pytest.mark.parametrize("rank", [1, 16, LARGEST])
    def test_a_rank(self, rank: int) -> None:
        assert checked_rank(rank) == rank

    @pytest.mark.parametrize("rank", [0, -1, LARGEST + 1])
    def test_a_rank_that_cannot_be(self, rank: int) -> None:
        with pytest.raises(UsageError, match=f"--rank is {rank}"):
            checked_rank(rank)

    def test_alpha_is_twice_the_rank_and_never_more_than_32_bits(self) -> None:
        assert checked_alpha(None, 24) == 48
        assert checked_alpha(7, 24) == 7
        assert checked_alpha(None, LARGEST) == LARGEST
        with pytest.raises(UsageError, match="--alpha is 0"):
            checked_alpha(0, 16)

    @pytest.mark.parametrize("dropout", [0.0, 0.05, 0.999])
    def test_a_dropout(self, dropout: float) -> None:
        assert checked_dropout(dropout) == dropout

    @given(st.floats().filter(lambda number: not 0 <= number < 1))
    def test_a_dropout_that_cannot_be(self, dropout: float) -> None:
        with pytest.raises(UsageError, match="--dropout is"):
            checked_dropout(dropout)

    def test_no_dropout_has_no_sign(self) -> None:
        assert math.copysign(1, checked_dropout(-0.0)) == 1


@pytest.mark.parametrize(
    ("method", "quantization", "training", "serving"),
    [
        (
            "qlora", "4bit_base_model", "4bit_nf4_or_runtime_equivalent",
            "same_quantization_family_as_training_or_revalidate",
        ),
        (
            "lora", "base_model_precision", "base_model_precision", "same_base_model_precision_as_training_or_revalidate",
        ),
    ],
)  # fmt: skip
def test_the_precision_of_a_method(method: Method, quantization: str, training: str, serving: str) -> None:
    found = precision_of(method)
    assert (found.training_base_precision, found.serving_base_precision) == (training, serving)
    assert (found.schema_version, found.training_compute_precision, found.adapter_weight_precision) == (
        1, "bf16_when_supported_else_fp16", "bf16_or_fp16_lora_weights",
    )  # fmt: skip
    assert found.serving_adapter_precision == "load_adapter_weights_without_merge_until_promotion"
    assert "new route" in found.compatibility_policy
    assert len(found.promotion_gates) == 3
    assert [key for key, _ in found.metadata] == [
        "training_base_precision", "training_compute_precision", "adapter_weight_precision", "serving_base_precision",
    ]  # fmt: skip
    assert _training(method=method).quantization == quantization


def _training(tool_format: str = "native", method: Method = "qlora") -> Training:
    return training_of(
        method,
        tool_format,
        rank=16,
        alpha=32,
        dropout=0.05,
        modules=TargetModules("all_linear", ("all-linear",)),
        contract=training_contract(tool_format, ToolCatalog(), ()),
    )


class TestTraining:
    @pytest.mark.parametrize(
        ("tool_format", "owner", "notes"),
        [
            ("native", "provider_tokenizer_runtime", 2),
            ("json", "harn_text_tool_parser", 2),
            ("text", "harn_text_tool_parser", 2),
            ("other", "catalog_validated_route", 1),
        ],
    )
    def test_the_trainers_contract(self, tool_format: str, owner: str, notes: int) -> None:
        found = _training(tool_format)
        rules = " ".join(found.trainer_contract)
        for word in ("TRL", "PEFT", "assistant_only_loss=true", "packing=false"):
            assert word in rules
        assert ("assistant_tool_text" in rules) is (tool_format != "native")
        assert ("native tool calls are no training targets" in rules) is (tool_format in ("json", "text"))
        assert found.trainer_contract[-1] == (
            "machine contract: mask=require_chat_template_generation_masks "
            "packing=disabled_unless_boundary_aware_tool_pack_pairs "
            f"parser_owner={owner} split=train_tune_holdout_disjoint_no_eval_holdout_training"
        )
        assert found.contract.tool_parser_owner == owner
        assert len(found.notes) == notes

    def test_constants(self) -> None:
        found = _training()
        assert (found.adapter_type, found.trainer, found.loss_scope, found.packing) == (
            "peft_lora", "trl_sft_trainer", "assistant_tool_calls", "off_by_default_for_tool_boundaries",
        )  # fmt: skip
        assert (found.rank, found.alpha, found.dropout) == (16, 32, 0.05)
        assert list(type(found).model_fields) == [
            "adapter_type", "trainer", "rank", "alpha", "dropout", "quantization", "loss_scope", "packing",
            "target_modules", "contract", "trainer_contract", "notes",
        ]  # fmt: skip

    def test_rows_say_where_they_come_from(self) -> None:
        plain = training_contract("native", ToolCatalog(), ("lm_head",))
        assert plain.schema_version == 3
        assert plain.required_example_metadata == (
            "dataset_format", "source_tool_format", "source_record_id", "source_transcript_id", "teacher_model",
            "teacher_provider", "target_base_model", "target_tool_format", "tool_schema_hash", "prompt_template_hash",
            "split", "license", "lora_contract_id", "lora_target", "tool_catalog_policy",
        )  # fmt: skip
        assert plain.peft_save_policy.modules_to_save == ("lm_head",)
        named = training_contract("native", ToolCatalog("compressed_names", "tools", "sha256:1"), ())
        assert named.required_example_metadata[-2:] == ("tool_catalog_id", "tool_catalog_hash")


class TestTemplate:
    @pytest.mark.parametrize(
        ("base", "tool_format", "name", "stops"),
        [
            ("acme/m", "native", "native_messages_with_tools", ()),
            ("google/functiongemma-270m-it", "native", "functiongemma_control_tokens", ("<start_function_response>",)),
            ("google/gemma-4-E4B-it", "native", "gemma4_native_function_calling", ()),
            ("google/functiongemma-gemma-4", "native", "functiongemma_control_tokens", ("<start_function_response>",)),
            ("google/gemma-4-E4B-it", "json", "harn_text_tool_calls_json_fences", ("</tool_call>",)),
            ("acme/m", "text", "harn_text_tool_calls_heredoc", ("</tool_call>",)),
            ("acme/m", "other", "route_validated_tool_template", ()),
        ],
    )
    def test_the_template_of_a_route(self, base: str, tool_format: str, name: str, stops: tuple[str, ...]) -> None:
        found = template_of(route(base), tool_format)
        assert (found.name, found.stop_sequences) == (name, stops)
        assert all((found.source, found.supervised_target, found.requirements, found.notes))

    @pytest.mark.parametrize("tool_format", ["native", "json", "text", "other"])
    def test_what_to_check_of_a_data_set(self, tool_format: str) -> None:
        found = data_of(tool_format)
        assert ("assistant_tool_text" in found.required_columns) is (tool_format != "native")
        assert len(found.validation) == 3


class TestExamples:
    @pytest.mark.parametrize(
        ("requested", "teacher", "corpus", "effective"),
        [
            ("audit-only", True, True, "audit-only"),
            ("refresh", False, False, "refresh"),
            ("distill", False, True, "distill"),
            ("auto", False, False, "audit-only"),
            ("auto", False, True, "audit-only"),
            ("auto", True, True, "refresh"),
            ("auto", True, False, "distill"),
        ],
    )
    def test_the_strategy(self, requested: str, teacher: bool, corpus: bool, effective: str) -> None:
        assert effective_strategy(requested, has_teacher=teacher, has_corpus=corpus) == effective

    @pytest.mark.parametrize(
        ("strategy", "needs", "word"),
        [("refresh", True, "ids"), ("distill", True, "frozen"), ("audit-only", False, "audited")],
    )
    def test_what_is_done_with_a_corpus(self, strategy: str, needs: bool, word: str) -> None:
        found = corpus_refresh_of(strategy, None, "native", "messages_with_tool_calls")
        assert found.teacher_required is needs
        assert len(found.generation_notes) == 4
        assert word in found.generation_notes[0]
        assert "messages_with_tool_calls" in found.generation_notes[3]
        assert (
            len(found.provenance_manifest_fields),
            len(found.hard_negative_slices),
            len(found.acceptance_gates),
        ) == (
            10,
            5,
            5,
        )

    def test_a_teacher_is_recorded_on_every_row_it_touched_even_where_it_makes_none(self) -> None:
        found = corpus_refresh_of("audit-only", TEACHER, "native", "messages_with_tool_calls")
        assert "acme/teacher of vllm" in found.generation_notes[4]
        nobody = TEACHER.model_copy(update={"provider": None})
        assert corpus_refresh_of("distill", nobody, "native", "x").generation_notes[4].endswith("acme/teacher")


class TestEvaluation:
    @pytest.mark.parametrize(
        ("tool_format", "word"), [("native", "native schema"), ("json", "text parser"), ("x", "native schema")]
    )
    def test_what_is_measured(self, tool_format: str, word: str) -> None:
        found = evaluation_of(tool_format, None, OURS)
        assert (found.minimum_trials, len(found.required_metrics), len(found.gates)) == (5, 5, 4)
        assert word in found.required_metrics[1]

    def test_the_origin_names_its_command_and_its_cases(self) -> None:
        command = evaluation_of("json", None, HARN).eval_command
        assert command == (
            "harn", "eval", "tool-calls", "--planner", "ADAPTER_MODEL", "--tool-format", "json", "--dataset",
            "conformance/tool-call-eval",
        )  # fmt: skip
        assert evaluation_of("json", "./corpus", HARN).eval_command[-1] == "./corpus"
        assert evaluation_of("json", "./corpus", OURS).eval_command == ()


class TestServing:
    def of(self, tool_format: str, **at: object) -> tuple[str, ...]:
        found = serving_of(route(**at), tool_format, request_model="R", adapter_name="A", dialect=OURS)  # type: ignore[arg-type]
        assert len(found.promotion_gates) == 3
        return found.runtime_notes

    def test_the_runtime_takes_it_or_somebody_else_does(self) -> None:
        assert adapter_binding(route(at="vllm")) == "runtime_lora_adapter"
        assert adapter_binding(route(at="openai")) == "external_runtime_or_merged_adapter"
        assert adapter_binding(route(at="tgi", dialect=HARN)) == "external_runtime_or_merged_adapter"

    def test_native_calls_at_vllm_need_its_flags(self) -> None:
        notes = " ".join(self.of("native"))
        assert "--enable-auto-tool-choice" in notes
        assert "the --tool-call-parser of its family" in notes
        assert "--tool-call-parser hermes" in " ".join(self.of("native", tool_call_parser="hermes"))
        assert "--enable-auto-tool-choice" not in " ".join(self.of("native", at="tgi"))

    def test_gemma_has_notes_of_its_own(self) -> None:
        assert "FunctionGemma" in self.of("native", name="google/functiongemma-270m-it")[-1]
        assert "Gemma 4" in self.of("native", name="google/gemma-4-E4B-it")[-1]
        assert not [note for note in self.of("json", name="google/gemma-4-E4B-it") if "Gemma" in note]

    def test_the_id_alone_counts_for_gemma(self) -> None:
        lineage = model("acme/coyote-8b", lineage="gemma-4")
        assert route(model=lineage).is_gemma4
        assert not [note for note in self.of("native", model=lineage) if "Gemma" in note]
        lineage = model("acme/coyote-8b", lineage="functiongemma")
        assert route(model=lineage).is_function_gemma
        both = route(model=model("acme/coyote-8b", lineage="functiongemma-gemma-4"))
        assert (both.is_function_gemma, both.is_gemma4) == (True, False)
        assert not [note for note in self.of("native", model=lineage) if "Gemma" in note]

    def test_text_calls_are_read_by_the_text_parser(self) -> None:
        notes = " ".join(self.of("text"))
        assert "text parser" in notes
        assert "native parsers stay off" in notes

    def test_another_format_says_nothing_of_parsers(self) -> None:
        assert "parser" not in " ".join(self.of("other"))

    def test_only_a_runtime_that_names_adapters_picks_them_by_name(self) -> None:
        assert "by its model name" in self.of("native")[0]
        assert "requests name the base" in self.of("native", at="mlx")[0]

    def test_the_origin_says_nothing_of_what_a_runtime_is_like(self) -> None:
        theirs = serving_of(route(dialect=HARN), "json", request_model="R", adapter_name="A", dialect=HARN)
        assert not [note for note in theirs.runtime_notes if "/v1/models" in note]
        assert [note for note in self.of("native") if "/v1/models" in note]
