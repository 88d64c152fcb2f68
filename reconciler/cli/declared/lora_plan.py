"""``lora plan``: the command as it is typed."""

from __future__ import annotations

from typing import Annotated

import typer

from reconciler.cli import options
from reconciler.cli.declared import lora_options

Corpus = Annotated[
    str | None,
    typer.Option(
        "--corpus",
        envvar="LOCALMODELS_CORPUS",
        metavar="PATH_OR_DATASET",
        help="What the data set is made of. Named in the plan, never opened.",
    ),
]
Teacher = Annotated[
    str | None,
    typer.Option(
        "--teacher", envvar="LOCALMODELS_TEACHER", metavar="MODEL", help="A model that repairs or makes examples."
    ),
]
Strategy = Annotated[
    str,
    typer.Option(
        "--corpus-strategy",
        envvar="LOCALMODELS_CORPUS_STRATEGY",
        metavar="STRATEGY",
        help="auto, audit-only, refresh or distill.",
    ),
]
Rank = Annotated[int, typer.Option("--rank", envvar="LOCALMODELS_RANK", metavar="N", help="Rank of the adapter.")]
Alpha = Annotated[
    int | None, typer.Option("--alpha", envvar="LOCALMODELS_ALPHA", metavar="N", help="Its scale; else twice the rank.")
]
Dropout = Annotated[
    float, typer.Option("--dropout", envvar="LOCALMODELS_DROPOUT", metavar="SHARE", help="From 0 to less than 1.")
]


def add_to(group: typer.Typer) -> None:
    group.command("plan")(lora_plan)


def lora_plan(
    base: lora_options.Base,
    provider: lora_options.Provider = None,
    tool_format: lora_options.ToolFormat = "auto",
    corpus: Corpus = None,
    teacher: Teacher = None,
    corpus_strategy: Strategy = "auto",
    method: lora_options.Method = "qlora",
    rank: Rank = 16,
    alpha: Alpha = None,
    dropout: Dropout = 0.05,
    modules_to_save: lora_options.ModulesToSave = None,
    target_modules: lora_options.TargetModules = None,
    tool_catalog_policy: lora_options.ToolCatalogPolicy = "full_schema",
    tool_catalog_id: lora_options.ToolCatalogId = None,
    tool_catalog_hash: lora_options.ToolCatalogHash = None,
    dialect: lora_options.DialectName = "localmodels",
    json: options.Json = False,
) -> int:
    """Say how to train an adapter that its base can be served with.

    Format of tool calls and data set, training, precision, evaluation, serving, and the commands of each step. Nothing
    is read but the catalogue, nobody is asked, nothing is written.
    """
    from reconciler.cli.commands.lora_plan import show_lora_plan
    from reconciler.engine.lora.plan import PlanRequest

    request = PlanRequest(
        base=base,
        provider=provider,
        tool_format=tool_format,
        corpus=corpus,
        teacher=teacher,
        corpus_strategy=corpus_strategy,
        method=method,
        rank=rank,
        alpha=alpha,
        dropout=dropout,
        modules_to_save=tuple(modules_to_save or ()),
        target_modules=tuple(target_modules or ()),
        tool_catalog_policy=tool_catalog_policy,
        tool_catalog_id=tool_catalog_id,
        tool_catalog_hash=tool_catalog_hash,
    )
    return show_lora_plan(request, dialect, as_json=json)
