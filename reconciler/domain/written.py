"""The base of every class of the desired state file."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError


class Written(BaseModel):
    """The base of everything in the file: no unknown keys, no conversions, camelCase keys only."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, alias_generator=to_camel, defer_build=True, protected_namespaces=()
    )

    twins: ClassVar[tuple[tuple[str, str], ...]] = ()
    """Pairs of keys that say one thing in two ways: one of them at most."""
    needs_a_key: ClassVar[bool] = False
    """An empty mapping says nothing here."""
    needed_unless: ClassVar[tuple[str, tuple[str, ...]] | None] = None
    """A switch, and keys that must be there while it is off."""

    @model_validator(mode="after")
    def _keys_are_together(self) -> Written:
        given = {to_camel(name) for name in self.model_fields_set}
        for first, second in self.twins:
            if first in given and second in given:
                raise PydanticCustomError("twins", "{first} and {second}", {"first": first, "second": second})
        if self.needs_a_key and not given:
            raise PydanticCustomError("no_keys", "at least one key")
        switch, needed = self.needed_unless or ("", ())
        for key in needed:
            if key not in given and not getattr(self, switch):
                raise PydanticCustomError("needed", "{key} or {switch}", {"key": key, "switch": switch})
        return self
