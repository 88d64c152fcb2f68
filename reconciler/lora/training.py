"""How an adapter is trained: method, precision, and the contract that a data set and its trainer keep."""

from __future__ import annotations

from typing import Literal

from reconciler.domain.document import Frozen
from reconciler.errors import UsageError
from reconciler.lora.contract import SCHEMA_VERSION, TargetModules, ToolCatalog
from reconciler.lora.tool_format import DatasetShape, dataset_shape

Method = Literal["qlora", "lora"]
METHODS: tuple[Method, ...] = ("qlora", "lora")
LARGEST = 2**32 - 1
"""Rank and alpha are unsigned numbers of 32 bits in the origin's documents."""
REQUIRED_METADATA = (
    "dataset_format", "source_tool_format", "source_record_id", "source_transcript_id", "teacher_model",
    "teacher_provider", "target_base_model", "target_tool_format", "tool_schema_hash", "prompt_template_hash", "split",
    "license", "lora_contract_id", "lora_target", "tool_catalog_policy",
)  # fmt: skip
"""What every row of a data set says about itself."""


class ToolCatalogReport(Frozen):
    """How the tools of a data set reach the model."""

    policy: str
    catalog_id: str | None
    catalog_hash: str | None


class SavePolicy(Frozen):
    """What is saved beside the adapter's own weights."""

    modules_to_save: tuple[str, ...]


class TargetModulesReport(Frozen):
    """Which weights are trained."""

    policy: str
    modules: tuple[str, ...]

    @classmethod
    def of(cls, found: TargetModules) -> TargetModulesReport:
        return cls(policy=found.policy, modules=found.modules)


class TrainingContract(Frozen):
    """What data set and trainer keep to; part of every manifest, and its last two parts of the contract's id."""

    schema_version: int
    loss_scope: str
    assistant_mask_policy: str
    packing_policy: str
    tool_parser_owner: str
    dataset_format: str
    dataset_split_policy: str
    tool_catalog: ToolCatalogReport
    peft_save_policy: SavePolicy
    required_example_metadata: tuple[str, ...]


class Training(Frozen):
    """The ``training`` section of a plan."""

    adapter_type: str
    trainer: str
    rank: int
    alpha: int
    dropout: float
    quantization: str
    loss_scope: str
    packing: str
    target_modules: TargetModulesReport
    contract: TrainingContract
    trainer_contract: tuple[str, ...]
    notes: tuple[str, ...]


class Precision(Frozen):
    """Which numbers an adapter is trained and served in."""

    schema_version: int
    training_base_precision: str
    training_compute_precision: str
    adapter_weight_precision: str
    serving_base_precision: str
    serving_adapter_precision: str
    compatibility_policy: str
    promotion_gates: tuple[str, ...]

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What a manifest records of it."""
        return (
            ("training_base_precision", self.training_base_precision),
            ("training_compute_precision", self.training_compute_precision),
            ("adapter_weight_precision", self.adapter_weight_precision),
            ("serving_base_precision", self.serving_base_precision),
        )


def checked_rank(rank: int) -> int:
    """The rank of an adapter.

    Raises:
        UsageError: below 1, or more than 32 bits hold.
    """
    return _within(rank, "--rank")


def checked_alpha(alpha: int | None, rank: int) -> int:
    """The scale of an adapter: what was given, else twice the rank.

    Raises:
        UsageError: below 1, or more than 32 bits hold.
    """
    return min(2 * rank, LARGEST) if alpha is None else _within(alpha, "--alpha")


def checked_dropout(dropout: float) -> float:
    """The share of activations that training leaves out.

    Raises:
        UsageError: not a number from 0 to less than 1.
    """
    if not 0.0 <= dropout < 1.0:
        raise UsageError(f"--dropout is {dropout:g}", hint="write a number from 0 to less than 1, such as 0.05")
    return abs(dropout)  # -0.0 is 0.0


def _within(number: int, flag: str) -> int:
    if not 1 <= number <= LARGEST:
        raise UsageError(f"{flag} is {number}", hint=f"write a whole number from 1 to {LARGEST}")
    return number


def training_contract(tool_format: str, tools: ToolCatalog, modules_to_save: tuple[str, ...]) -> TrainingContract:
    """What data set and trainer keep to, for an effective tool format."""
    shape = dataset_shape(tool_format)
    named = [word for word, given in (("tool_catalog_id", tools.id), ("tool_catalog_hash", tools.hash)) if given]
    return TrainingContract(
        schema_version=SCHEMA_VERSION,
        loss_scope="assistant_tool_calls",
        assistant_mask_policy="require_chat_template_generation_masks",
        packing_policy="disabled_unless_boundary_aware_tool_pack_pairs",
        tool_parser_owner=shape.parser_owner,
        dataset_format=shape.name,
        dataset_split_policy="train_tune_holdout_disjoint_no_eval_holdout_training",
        tool_catalog=ToolCatalogReport(policy=tools.policy, catalog_id=tools.id, catalog_hash=tools.hash),
        peft_save_policy=SavePolicy(modules_to_save=modules_to_save),
        required_example_metadata=(*REQUIRED_METADATA, *named),
    )


def training_of(
    method: Method,
    tool_format: str,
    *,
    rank: int,
    alpha: int,
    dropout: float,
    modules: TargetModules,
    contract: TrainingContract,
) -> Training:
    """The ``training`` section: numbers, contract, and what they mean for a trainer."""
    return Training(
        adapter_type="peft_lora",
        trainer="trl_sft_trainer",
        rank=rank,
        alpha=alpha,
        dropout=dropout,
        quantization="4bit_base_model" if method == "qlora" else "base_model_precision",
        loss_scope=contract.loss_scope,
        packing="off_by_default_for_tool_boundaries",
        target_modules=TargetModulesReport.of(modules),
        contract=contract,
        trainer_contract=_rules(tool_format, contract),
        notes=_notes(tool_format),
    )


def _rules(tool_format: str, contract: TrainingContract) -> tuple[str, ...]:
    shape = dataset_shape(tool_format)
    rules = [
        "TRL's SFT trainer with PEFT: the base is frozen, and only the adapter's files are saved",
        "assistant_only_loss=true: prompts, tool schemas and tool results are context and teach nothing",
        "before that setting is relied on, see that the chat template marks what the assistant generates",
        "packing=false, unless the packer knows where calls end and keeps each with its result",
        _row_rule(shape),
    ]
    if tool_format in ("text", "json"):
        rules.append("tags of a provider's native tool calls are no training targets")
    rules.append(
        f"machine contract: mask={contract.assistant_mask_policy} packing={contract.packing_policy} "
        f"parser_owner={contract.tool_parser_owner} split={contract.dataset_split_policy}"
    )
    return tuple(rules)


def _row_rule(shape: DatasetShape) -> str:
    if "assistant_tool_text" not in shape.columns:
        return "every row holds messages and tools, and each call in it has the tool message that answers it"
    return "every row holds messages, tools and assistant_tool_text, and that text was parsed before it is tokenised"


def _notes(tool_format: str) -> tuple[str, ...]:
    if tool_format == "native":
        return (
            "train in the shape of messages and tools that the model's own template knows",
            "keep the tools column: it is what makes training and inference see the same schemas",
        )
    if tool_format in ("json", "text"):
        kind = "calls as JSON in blocks of text" if tool_format == "json" else "calls as text with heredocs"
        return (f"train completions that write {kind}", "only what the assistant writes counts as loss")
    return ("train on the format that the route was validated with",)


def precision_of(method: Method) -> Precision:
    """What an adapter of this method is trained and served in."""
    quantised = method == "qlora"
    changed = "the base's quantisation or the compute type" if quantised else "the precision of base or adapter"
    return Precision(
        schema_version=1,
        training_base_precision="4bit_nf4_or_runtime_equivalent" if quantised else "base_model_precision",
        training_compute_precision="bf16_when_supported_else_fp16",
        adapter_weight_precision="bf16_or_fp16_lora_weights",
        serving_base_precision="same_quantization_family_as_training_or_revalidate"
        if quantised
        else "same_base_model_precision_as_training_or_revalidate",
        serving_adapter_precision="load_adapter_weights_without_merge_until_promotion",
        compatibility_policy=f"another choice of {changed} is a new route until it has passed the gates",
        promotion_gates=(
            "the adapter's manifest records the precision of training base, compute, adapter and serving base",
            "base and adapter are compared at the base precision they will be served in",
            "the gates run again when quantisation, compute type, template or tool format change",
        ),
    )
