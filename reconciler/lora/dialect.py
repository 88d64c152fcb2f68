"""Where the tool this one grew from and ours differ in LoRA work. Everybody who branches on it reads it from here.

Names of data set formats are the same in both, so that a contract id means the same in both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

DialectName = Literal["localmodels", "harn"]


@dataclass(frozen=True, slots=True)
class Dialect:
    """The defaults of one command family."""

    name: DialectName
    program: tuple[str, ...]
    """What stands before ``inspect``, ``plan``, ``export`` and ``preflight`` in a printed command."""
    auto_tool_format: str | None
    """What ``--tool-format auto`` means. None: the default of the route."""
    unknown_tool_format: str
    """The default of a route of which nothing is known."""
    launch: Literal["runtime", "harn-local"]
    """Who starts the base with its adapter: the runtime's own program, or ``harn local launch``."""
    rounds_rank: bool
    """Launch hints name the smallest rank the runtime allows; else the adapter's own."""
    aliases: bool
    """Names of the table's own bases (``local-gemma4-e4b``) are known."""
    any_base: bool
    """A base nobody knows is taken as it is written; else only ``organisation/name``."""
    inferred_provider: str | None
    """Who serves a base of which nobody says it. None: ``routes.inferred_provider`` looks at its name and files."""
    own_adapter_support: bool
    """What every runtime can do with adapters counts; else only what the origin's launcher can do."""
    understands_base_names: bool
    """Caches, tags, revisions and copies of a base count as its name, and what stays unclear is told; else names are
    compared as they are written."""
    takes_any_servable_format: bool
    """A manifest may be for any tool format that the route can serve; else for its default only."""
    knows_unknown: bool
    """A capability that nobody states is null; else it is a no, and text always travels."""
    exporter: str
    """Who wrote a manifest."""
    tool_description: str
    """Of a schema that calls show; ``{name}`` stands for the tool."""
    camel_case: bool
    """Keys of reports in camelCase, as everywhere here; else with ``_``."""
    eval_command: bool
    """Recipes hold the command of the origin's evaluation; we have none to name."""
    any_bullet_names_a_tool: bool
    """In a system's text; else only bullets under a heading that says so, and lists of schemas are read."""
    parses_text_calls: bool
    """Calls as ``name({ … })`` are read, not only counted, and become native ones too."""
    refuses_odd_messages: bool
    """A message that is no object, or whose role nobody knows, is an error of its record; else it is left out."""
    takes_plain_chat: bool
    """A record that declares its tools and calls none is an example too; one without any answer is none."""
    counts_whole_prompt: bool
    """Estimates of tokens count calls and schemas of tools too; else roles and texts only."""
    source_tool_format: str
    """What ``preflight`` expects of a corpus unless it is told."""
    judges_an_empty_corpus: bool
    """Every check speaks of a corpus without a record; else it is said to be empty."""
    takes_paths_for_names: bool
    """A path at which nothing is may be a name that a runtime resolves; else it is an error."""
    scans_config_lines: bool
    """Training configurations are scanned line by line; else read as the YAML they are."""


OURS = Dialect(
    name="localmodels",
    program=("localmodels", "lora"),
    auto_tool_format="native",
    unknown_tool_format="native",
    launch="runtime",
    rounds_rank=True,
    aliases=False,
    any_base=False,
    inferred_provider=None,
    own_adapter_support=True,
    understands_base_names=True,
    takes_any_servable_format=True,
    knows_unknown=True,
    exporter="localmodels_lora_export_v1",
    tool_description="Tool `{name}`, as its calls show it.",
    camel_case=True,
    eval_command=False,
    any_bullet_names_a_tool=False,
    parses_text_calls=True,
    refuses_odd_messages=True,
    takes_plain_chat=True,
    counts_whole_prompt=True,
    source_tool_format="auto",
    judges_an_empty_corpus=False,
    takes_paths_for_names=False,
    scans_config_lines=False,
)
"""Messages with tool calls, as TRL and the Hub have them; launch hints are the runtime's own command."""

HARN = Dialect(
    name="harn",
    program=("harn", "models", "lora"),
    auto_tool_format=None,
    unknown_tool_format="json",
    launch="harn-local",
    rounds_rank=False,
    aliases=True,
    any_base=True,
    inferred_provider="local",
    own_adapter_support=False,
    understands_base_names=False,
    takes_any_servable_format=False,
    knows_unknown=False,
    exporter="harn_models_lora_export_v1",
    tool_description="Harn agent tool `{name}`.",
    camel_case=False,
    eval_command=True,
    any_bullet_names_a_tool=True,
    parses_text_calls=False,
    refuses_odd_messages=False,
    takes_plain_chat=False,
    counts_whole_prompt=False,
    source_tool_format="json",
    judges_an_empty_corpus=True,
    takes_paths_for_names=True,
    scans_config_lines=True,
)
"""Every default of the origin."""

DIALECTS: dict[DialectName, Dialect] = {"localmodels": OURS, "harn": HARN}
