"""``schema``: the JSON Schema of the desired state's file."""

from __future__ import annotations

import json
import sys

from reconciler.cli.outcome import print_json
from reconciler.integrations.files.schema import generate_schema


def print_schema(*, as_json: bool) -> int:
    """Print it as it is; with ``--json`` inside the envelope, as every command."""
    made = generate_schema()
    if as_json:
        print_json(made)
    else:
        sys.stdout.write(json.dumps(made, indent=2, ensure_ascii=False) + "\n")
    return 0
