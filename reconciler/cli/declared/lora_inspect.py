"""``lora inspect``: the command as it is typed."""

from __future__ import annotations

from typing import Annotated

import typer

from reconciler.cli import options
from reconciler.cli.declared import lora_options

Adapter = Annotated[
    str,
    typer.Argument(
        metavar="ADAPTER",
        help="Its folder, its adapter_config.json, one file of weights, or a name that only the runtime knows.",
        show_default=False,
    ),
]
Name = Annotated[
    str | None,
    typer.Option(
        "--name",
        envvar="LOCALMODELS_NAME",
        metavar="NAME",
        help="What requests call it; else the last part of its path.",
    ),
]
Manifest = Annotated[
    str | None,
    typer.Option(
        "--manifest", envvar="LOCALMODELS_MANIFEST", metavar="PATH", help="Compare it with this contract manifest."
    ),
]
RequireContractId = Annotated[
    bool,
    typer.Option(
        "--require-contract-id",
        envvar="LOCALMODELS_REQUIRE_CONTRACT_ID",
        help="Fail where the adapter does not carry the manifest's contract id.",
    ),
]
ToolFormat = Annotated[
    str | None,
    typer.Option(
        "--tool-format",
        envvar="LOCALMODELS_TOOL_FORMAT",
        metavar="FORMAT",
        help="What it is served with: native, text or json; else whatever the manifest says and the route can serve.",
    ),
]
BaseConfig = Annotated[
    str | None,
    typer.Option(
        "--base-config",
        envvar="LOCALMODELS_BASE_CONFIG",
        metavar="PATH",
        help="The base's config.json or its folder, to compare widths with; else what the catalogue knows.",
    ),
]
BaseGguf = Annotated[
    str | None,
    typer.Option(
        "--base-gguf",
        envvar="LOCALMODELS_BASE_GGUF",
        metavar="FILE",
        help="The base's GGUF file, to compare every tensor with.",
    ),
]
Beside = Annotated[
    list[int] | None,
    typer.Option(
        "--beside-rank",
        envvar="LOCALMODELS_BESIDE_RANK",
        metavar="N",
        min=1,
        help="Rank of another adapter the same server loads. May be given again.",
    ),
]
Strict = Annotated[
    bool, typer.Option("--strict", envvar="LOCALMODELS_STRICT", help="Fail on whatever else is only a warning.")
]

Lockfile = Annotated[
    str | None,
    typer.Option(
        "--lockfile",
        envvar="LOCALMODELS_LOCKFILE",
        metavar="FILE",
        help="Compare its files, base and contract id with what this file has accepted.",
    ),
]
UpdateLockfile = Annotated[
    bool,
    typer.Option(
        "--update-lockfile",
        envvar="LOCALMODELS_UPDATE_LOCKFILE",
        help="Accept it as it is into --lockfile, where nothing else is wrong.",
    ),
]


def add_to(group: typer.Typer) -> None:
    group.command("inspect")(lora_inspect)


def lora_inspect(
    adapter: Adapter,
    base: lora_options.Base,
    provider: lora_options.Provider = None,
    name: Name = None,
    manifest: Manifest = None,
    require_contract_id: RequireContractId = False,
    tool_format: ToolFormat = None,
    base_config: BaseConfig = None,
    base_gguf: BaseGguf = None,
    beside_rank: Beside = None,
    strict: Strict = False,
    lockfile: Lockfile = None,
    update_lockfile: UpdateLockfile = False,
    dialect: lora_options.DialectName = "localmodels",
    json: options.Json = False,
) -> int:
    """Look whether an adapter is whole, is what it says, and fits its base and its provider.

    Reads its configuration and the headers of its weights, never a weight, and loads no pickle. Exits 1 where it could
    not be served. Nobody is asked, and nothing is written but the lockfile that --update-lockfile asks for.
    """
    from reconciler.cli.commands.lora_inspect import show_lora_inspect
    from reconciler.engine.lora.inspect import InspectRequest

    request = InspectRequest(
        adapter=adapter,
        name=name,
        manifest=manifest,
        require_contract_id=require_contract_id,
        tool_format=tool_format,
        base_config=base_config,
        base_gguf=base_gguf,
        beside=tuple(beside_rank or ()),
        strict=strict,
        lockfile=lockfile,
    )
    return show_lora_inspect(request, base, provider, dialect, as_json=json, accept=update_lockfile)
