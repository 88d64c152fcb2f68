"""The facts about LoRA routes that ship in the package: one file, each row with its source and date."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from reconciler.lora.route_table import RouteTable

TABLE = Path(__file__).with_name("lora_routes.json")


@cache
def load_routes() -> RouteTable:
    """The shipped table."""
    return RouteTable.model_validate_json(TABLE.read_bytes())
