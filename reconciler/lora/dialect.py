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
    camel_case: bool
    """Keys of reports in camelCase, as everywhere here; else with ``_``."""
    eval_command: bool
    """Recipes hold the command of the origin's evaluation; we have none to name."""


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
    camel_case=True,
    eval_command=False,
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
    camel_case=False,
    eval_command=True,
)
"""Every default of the origin."""

DIALECTS: dict[DialectName, Dialect] = {"localmodels": OURS, "harn": HARN}
