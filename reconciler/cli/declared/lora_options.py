"""The options that several ``lora`` commands share."""

from __future__ import annotations

import os
from typing import Annotated, Literal

import typer


def one_a_line(context: typer.Context, parameter: typer.CallbackParam, value: list[str] | None) -> list[str] | None:
    """Values that may hold blanks: the parser splits variables at them, so what a variable says is read again."""
    source = context.get_parameter_source(parameter.name or "")
    if source is None or source.name != "ENVIRONMENT":
        return value
    said = os.environ.get(str(parameter.envvar), "")
    return [each.strip() for each in said.splitlines() if each.strip()]


Base = Annotated[
    str,
    typer.Option(
        "--base",
        envvar="LOCALMODELS_BASE",
        metavar="MODEL",
        help="The base: a model id, a repository, or an Ollama name.",
    ),
]
Provider = Annotated[
    str | None,
    typer.Option(
        "--provider",
        envvar="LOCALMODELS_PROVIDER",
        metavar="PROVIDER",
        help="Who serves it: vllm, llamacpp, ollama, sglang, mlx, tgi; else by what the base is.",
    ),
]
ToolFormat = Annotated[
    str,
    typer.Option(
        "--tool-format",
        envvar="LOCALMODELS_TOOL_FORMAT",
        metavar="FORMAT",
        help="How tools are called: auto, native, text or json.",
    ),
]
DialectName = Annotated[
    Literal["localmodels", "harn"],
    typer.Option("--dialect", envvar="LOCALMODELS_DIALECT", help="Whose defaults and launch commands."),
]
Method = Annotated[
    str,
    typer.Option("--method", envvar="LOCALMODELS_METHOD", metavar="METHOD", help="How it is trained: qlora or lora."),
]
TargetModules = Annotated[
    list[str] | None,
    typer.Option(
        "--target-modules",
        envvar="LOCALMODELS_TARGET_MODULES",
        metavar="NAMES",
        help="Weights to train, with commas between; else what suits method and base. May be given again.",
    ),
]
ModulesToSave = Annotated[
    list[str] | None,
    typer.Option(
        "--modules-to-save",
        envvar="LOCALMODELS_MODULES_TO_SAVE",
        metavar="NAMES",
        help="Whole modules trained and saved beside the adapter. May be given again.",
    ),
]
ToolCatalogPolicy = Annotated[
    str,
    typer.Option(
        "--tool-catalog-policy",
        envvar="LOCALMODELS_TOOL_CATALOG_POLICY",
        metavar="POLICY",
        help="How tools reach the model: full_schema, compressed_names or fixed_catalog_internalized.",
    ),
]
ToolCatalogId = Annotated[
    str | None,
    typer.Option(
        "--tool-catalog-id", envvar="LOCALMODELS_TOOL_CATALOG_ID", metavar="ID", help="The tool catalogue, by its id."
    ),
]
ToolCatalogHash = Annotated[
    str | None,
    typer.Option(
        "--tool-catalog-hash",
        envvar="LOCALMODELS_TOOL_CATALOG_HASH",
        metavar="HASH",
        help="The tool catalogue, by its digest.",
    ),
]
