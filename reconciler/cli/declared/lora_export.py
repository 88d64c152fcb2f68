"""``lora export``: the command as it is typed."""

from __future__ import annotations

from typing import Annotated

import typer

from reconciler.cli import options
from reconciler.cli.declared import lora_options

Corpus = Annotated[
    str,
    typer.Option(
        "--corpus",
        envvar="LOCALMODELS_CORPUS",
        metavar="PATH",
        help="JSON lines, or a folder with a corpus.jsonl.",
    ),
]
Out = Annotated[
    str | None,
    typer.Option("--out", envvar="LOCALMODELS_EXPORT_OUT", metavar="FILE", help="Where the data set goes."),
]
Manifest = Annotated[
    str | None,
    typer.Option("--manifest", envvar="LOCALMODELS_EXPORT_MANIFEST", metavar="FILE", help="Where its manifest goes."),
]
Check = Annotated[
    bool, typer.Option("--check", envvar="LOCALMODELS_CHECK", help="Convert every record, and write no rows.")
]
AdapterName = Annotated[
    str | None,
    typer.Option(
        "--adapter-name", envvar="LOCALMODELS_ADAPTER_NAME", metavar="NAME", help="What requests will call the adapter."
    ),
]
ChatTemplate = Annotated[
    str | None,
    typer.Option(
        "--chat-template",
        envvar="LOCALMODELS_CHAT_TEMPLATE",
        metavar="NAME",
        help="The template rows are rendered with; part of the contract.",
    ),
]
TargetMetadata = Annotated[
    list[str] | None,
    typer.Option(
        "--target-metadata",
        envvar="LOCALMODELS_TARGET_METADATA",
        callback=lora_options.one_a_line,
        metavar="KEY=VALUE",
        help="Recorded in every row and in the manifest. May be given again; in the variable one a line.",
    ),
]
DefaultSplit = Annotated[
    str,
    typer.Option(
        "--default-split", envvar="LOCALMODELS_DEFAULT_SPLIT", metavar="SPLIT", help="Of records that name none."
    ),
]
DefaultLicense = Annotated[
    str,
    typer.Option(
        "--default-license", envvar="LOCALMODELS_DEFAULT_LICENSE", metavar="LICENSE", help="Of records that name none."
    ),
]
Against = Annotated[
    list[str] | None,
    typer.Option(
        "--against",
        envvar="LOCALMODELS_AGAINST",
        callback=lora_options.one_a_line,
        metavar="PATH",
        help="A held-out corpus: no example and no prompt may be in both. May be given again (variable: one a line).",
    ),
]


def add_to(group: typer.Typer) -> None:
    group.command("export")(lora_export)


def lora_export(
    base: lora_options.Base,
    corpus: Corpus,
    provider: lora_options.Provider = None,
    tool_format: lora_options.ToolFormat = "auto",
    out: Out = None,
    manifest: Manifest = None,
    check: Check = False,
    against: Against = None,
    adapter_name: AdapterName = None,
    chat_template: ChatTemplate = None,
    target_metadata: TargetMetadata = None,
    default_split: DefaultSplit = "train",
    default_license: DefaultLicense = "unknown",
    method: lora_options.Method = "qlora",
    modules_to_save: lora_options.ModulesToSave = None,
    target_modules: lora_options.TargetModules = None,
    tool_catalog_policy: lora_options.ToolCatalogPolicy = "full_schema",
    tool_catalog_id: lora_options.ToolCatalogId = None,
    tool_catalog_hash: lora_options.ToolCatalogHash = None,
    dialect: lora_options.DialectName = "localmodels",
    json: options.Json = False,
) -> int:
    """Turn a corpus of tool calls into a training set.

    Rows hold messages and tools, as TRL and the Hub have them; the manifest holds the contract an adapter will carry.
    Both are written when every record could be converted and the splits are disjoint; else neither is, and it exits 1.
    """
    from reconciler.cli.commands.lora_corpus import show_lora_export
    from reconciler.engine.lora.export import ExportRequest

    request = ExportRequest(
        corpus=corpus,
        tool_format=tool_format,
        out=out,
        manifest=manifest,
        check=check,
        against=tuple(against or ()),
        adapter_name=adapter_name,
        chat_template=chat_template,
        target_metadata=tuple(target_metadata or ()),
        default_split=default_split,
        default_license=default_license,
        method=method,
        modules_to_save=tuple(modules_to_save or ()),
        target_modules=tuple(target_modules or ()),
        tool_catalog_policy=tool_catalog_policy,
        tool_catalog_id=tool_catalog_id,
        tool_catalog_hash=tool_catalog_hash,
    )
    return show_lora_export(request, base, provider, dialect, as_json=json)
