"""A plan of training as a person reads it."""

from __future__ import annotations

from reconciler.cli.streams import harmless_line
from reconciler.cli.views.door import view
from reconciler.cli.views.lora_text import command, finding_lines, line, listed, yes_or_no
from reconciler.engine.lora.plan import LoraPlan


@view
def plan_text(plan: LoraPlan) -> str:
    """All of it: what counts first, then the rules of each step, then the commands, then what was found."""
    lines = [
        harmless_line(f"LoRA plan for {plan.base.id} via {plan.base.provider}"),
        *_route(plan),
        *_training(plan),
        *_data(plan),
        *_rules(plan),
        *_serving(plan),
        *command("preflight corpus", plan.launch.preflight_command),
        *command("export dataset", plan.launch.export_command),
        *command("eval", plan.evaluation.eval_command),
        *command("inspect adapter", plan.launch.inspect_command),
        *command("local launch", plan.launch.local_launch_command),
        *finding_lines(plan.findings),
    ]
    return "\n".join(lines)


def _route(plan: LoraPlan) -> list[str]:
    asked, calls = plan.request, plan.tool_calling
    correction = asked.tool_format_correction
    return [
        line("base selector", plan.base.selector),
        line("tool format", f"{asked.effective_tool_format} (requested {asked.requested_tool_format})"),
        *([line("tool format correction", correction)] if correction else []),
        line(
            "native tools",
            f"{yes_or_no(calls.native_tools)}, preferred: {calls.preferred_tool_format or 'unset'}",
        ),
    ]


def _training(plan: LoraPlan) -> list[str]:
    training, precision, contract = plan.training, plan.precision, plan.training.contract
    return [
        line("training", f"{plan.request.method} + {training.adapter_type}"),
        line("trainer", training.trainer),
        line("LoRA hparams", f"rank={training.rank} alpha={training.alpha} dropout={training.dropout:g}"),
        line("quantization", training.quantization),
        line("training base precision", precision.training_base_precision),
        line("training compute precision", precision.training_compute_precision),
        line("adapter precision", precision.adapter_weight_precision),
        line("serving base precision", precision.serving_base_precision),
        line("precision policy", precision.compatibility_policy),
        line("loss scope", training.loss_scope),
        line("packing", training.packing),
        line("target modules", ", ".join(training.target_modules.modules)),
        line("assistant mask", contract.assistant_mask_policy),
        line("parser owner", contract.tool_parser_owner),
        line("split policy", contract.dataset_split_policy),
        line("contract", plan.contract_id),
    ]


def _data(plan: LoraPlan) -> list[str]:
    asked, template = plan.request, plan.template
    teacher = asked.teacher
    by = f" via {teacher.provider}" if teacher and teacher.provider else ""
    return [
        line("template", template.name),
        line("template source", template.source),
        line("supervised target", template.supervised_target),
        *([line("corpus", asked.corpus)] if asked.corpus else []),
        line("corpus strategy", f"{asked.effective_corpus_strategy} (requested {asked.requested_corpus_strategy})"),
        *([line("teacher", f"{teacher.id}{by}")] if teacher else []),
        line("dataset format", plan.data.dataset_format),
    ]


def _rules(plan: LoraPlan) -> list[str]:
    template, refresh, training = plan.template, plan.corpus_refresh, plan.training
    return [
        *listed("template requirements", template.requirements),
        *listed("stop sequences", template.stop_sequences),
        *listed("template notes", template.notes),
        *listed("required columns", plan.data.required_columns),
        *listed("data validation", plan.data.validation),
        *listed("corpus refresh", refresh.generation_notes),
        *listed("provenance manifest", refresh.provenance_manifest_fields),
        *listed("hard negatives", refresh.hard_negative_slices),
        *listed("corpus gates", refresh.acceptance_gates),
        *listed("trainer contract", training.trainer_contract),
        *listed("precision gates", plan.precision.promotion_gates),
        *listed("training notes", training.notes),
    ]


def _serving(plan: LoraPlan) -> list[str]:
    evaluation, serving = plan.evaluation, plan.serving
    limit = plan.launch.max_lora_rank
    return [
        line("holdout policy", evaluation.holdout_policy),
        line("minimum trials", evaluation.minimum_trials),
        line("comparison baseline", evaluation.comparison_baseline),
        *listed("required metrics", evaluation.required_metrics),
        *listed("eval gates", evaluation.gates),
        line("adapter binding", serving.adapter_binding),
        line("LoRA module format", serving.lora_module_value_format),
        *([line("max LoRA rank", limit)] if limit is not None else []),
        line("request model", serving.request_model),
        *listed("serving notes", serving.runtime_notes),
        *listed("promotion gates", serving.promotion_gates),
    ]
