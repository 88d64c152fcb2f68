"""``lora preflight``: the command as it is typed."""

from __future__ import annotations

from typing import Annotated

import typer

from reconciler.cli import options
from reconciler.cli.declared import lora_options
from reconciler.cli.declared.lora_export import Against, Corpus, DefaultSplit

Config = Annotated[
    str | None,
    typer.Option(
        "--config",
        envvar="LOCALMODELS_CONFIG",
        metavar="FILE",
        help="The training configuration; max_seq_length and min_fit_ratio are read of it.",
    ),
]
MaxSeqLength = Annotated[
    int | None,
    typer.Option(
        "--max-seq-length",
        envvar="LOCALMODELS_MAX_SEQ_LENGTH",
        metavar="TOKENS",
        help="Longest sequence in training; else the configuration's, else the hard limit.",
    ),
]
MinFitRatio = Annotated[
    float | None,
    typer.Option(
        "--min-fit-ratio",
        envvar="LOCALMODELS_MIN_FIT_RATIO",
        metavar="SHARE",
        help="Share of records that must fit; else the configuration's, else 0.9.",
    ),
]
HardTokenLimit = Annotated[
    int,
    typer.Option(
        "--hard-token-limit",
        envvar="LOCALMODELS_HARD_TOKEN_LIMIT",
        metavar="TOKENS",
        help="No record may be longer, by estimate.",
    ),
]
MinRecords = Annotated[
    int, typer.Option("--min-records", envvar="LOCALMODELS_MIN_RECORDS", metavar="N", help="Records there must be.")
]
SourceToolFormat = Annotated[
    str | None,
    typer.Option(
        "--source-tool-format",
        envvar="LOCALMODELS_SOURCE_TOOL_FORMAT",
        metavar="FORMAT",
        help="How the corpus writes calls: auto, json, text or native; else auto (json in the harn dialect).",
    ),
]
MinToolCallShare = Annotated[
    float,
    typer.Option(
        "--min-tool-call-share",
        envvar="LOCALMODELS_MIN_TOOL_CALL_SHARE",
        metavar="SHARE",
        help="Share of calls that must be of that format.",
    ),
]
DoneMarker = Annotated[
    str | None,
    typer.Option(
        "--done-marker",
        envvar="LOCALMODELS_DONE_MARKER",
        metavar="TEXT",
        help="What the last answer of every record must hold.",
    ),
]
BehaviorStrataPolicy = Annotated[
    str,
    typer.Option(
        "--behavior-strata-policy",
        envvar="LOCALMODELS_BEHAVIOR_STRATA_POLICY",
        metavar="POLICY",
        help="strict: records must teach all five classes; legacy-unclassified: unless none names any; off.",
    ),
]
Check = Annotated[
    bool, typer.Option("--check", envvar="LOCALMODELS_CHECK", help="Exit 1 when the corpus is not ready; else 0.")
]


def add_to(group: typer.Typer) -> None:
    group.command("preflight")(lora_preflight)


def lora_preflight(
    base: lora_options.Base,
    corpus: Corpus,
    provider: lora_options.Provider = None,
    tool_format: lora_options.ToolFormat = "auto",
    config: Config = None,
    max_seq_length: MaxSeqLength = None,
    min_fit_ratio: MinFitRatio = None,
    hard_token_limit: HardTokenLimit = 32768,
    min_records: MinRecords = 1,
    source_tool_format: SourceToolFormat = None,
    min_tool_call_share: MinToolCallShare = 0.95,
    done_marker: DoneMarker = None,
    default_split: DefaultSplit = "train",
    against: Against = None,
    behavior_strata_policy: BehaviorStrataPolicy = "off",
    check: Check = False,
    dialect: lora_options.DialectName = "localmodels",
    json: options.Json = False,
) -> int:
    """Check whether a corpus suits its training, before anything is trained on it.

    Length by estimate, tool calls by how they are written, tools by whether they are declared, splits by whether they
    are disjoint. Nothing is written. Exits 0 whatever it finds, unless --check is given.
    """
    from reconciler.cli.commands.lora_corpus import show_lora_preflight
    from reconciler.engine.lora.preflight import PreflightRequest

    request = PreflightRequest(
        corpus=corpus,
        tool_format=tool_format,
        config=config,
        max_seq_length=max_seq_length,
        min_fit_ratio=min_fit_ratio,
        hard_token_limit=hard_token_limit,
        min_records=min_records,
        source_tool_format=source_tool_format,
        min_tool_call_share=min_tool_call_share,
        done_marker=done_marker,
        default_split=default_split,
        against=tuple(against or ()),
        behavior_strata_policy=behavior_strata_policy,
        check=check,
    )
    return show_lora_preflight(request, base, provider, dialect, as_json=json)
