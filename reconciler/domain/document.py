"""The base of every value that crosses a file or ``--json``: frozen, strict about keys, camelCase outside."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class Frozen(BaseModel):
    """A value that does not change. ``model_copy(update=…)`` returns a new one; collections are tuples.

    Field descriptions are the strings under the fields; the schema generator reads them from the source
    (pydantic's own ``use_attribute_docstrings`` re-parses every module at import, which start-up cannot afford).
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        populate_by_name=True,
        serialize_by_alias=True,
        defer_build=True,
        ser_json_inf_nan="constants",
    )
