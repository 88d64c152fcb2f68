"""``lora plan``: how to train an adapter for a base."""

from __future__ import annotations

from reconciler.cli.commands.lora_report import Facts, failure_of, print_report
from reconciler.cli.views.lora_plan import plan_text
from reconciler.engine.lora.plan import PlanRequest, plan_training
from reconciler.lora.dialect import DialectName


def show_lora_plan(request: PlanRequest, dialect: DialectName, *, as_json: bool) -> int:
    """Print the plan. Exits 1 where no adapter of it could be served."""
    facts = Facts(dialect)
    plan = plan_training(request, facts.catalogue, facts.table, facts.dialect)
    failure = failure_of(plan.findings, code="lora-plan-failed", what="an adapter of this plan could not be served")
    return print_report(plan, plan.findings, plan_text(plan), failure, facts.dialect, as_json=as_json)
