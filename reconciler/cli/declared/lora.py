"""The group ``lora``. Each of its commands is declared in a file of its own, ``lora_*.py``, with an ``add_to``."""

from __future__ import annotations

import typer

from reconciler.cli.declared import lora_export, lora_inspect, lora_plan, lora_preflight


def add_to(app: typer.Typer) -> None:
    """The group with its commands, in the order help shows them."""
    group = typer.Typer(rich_markup_mode=None, help="Plan, make, check and look at LoRA adapters.")
    group.callback()(lambda: None)
    for one in (lora_inspect, lora_plan, lora_preflight, lora_export):
        one.add_to(group)
    app.add_typer(group, name="lora")
