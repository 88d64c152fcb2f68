"""``observe``: what is seen of this machine, in a file that another one can plan from."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from reconciler.cli.freshness import freshness_of
from reconciler.cli.outcome import print_json, unknown_targets
from reconciler.cli.reporting import Silent
from reconciler.cli.running import run_to_end
from reconciler.cli.streams import one_line
from reconciler.cli.wiring import Wiring
from reconciler.cli.writing import write_text
from reconciler.domain.desired import DesiredState, Target
from reconciler.domain.document import Frozen
from reconciler.domain.observation import Observation, UnknownTarget
from reconciler.domain.record import Record
from reconciler.domain.units import show_bytes
from reconciler.engine.reconcile import plan_once
from reconciler.engine.world import Options
from reconciler.errors import UsageError


class SavedObservation(Frozen):
    """What ``observe --out`` writes and ``plan --observation`` reads."""

    kind: Literal["localmodels-observation"] = "localmodels-observation"
    format_version: Literal["1.0"] = "1.0"
    name: str
    """The document's name: the observation is of its targets."""
    observation: Observation
    """With the answers about the picks of the moment, so that a plan for them is exact."""
    record: Record


def save_observation(file: Path | None, out: Path, *, offline: bool, refresh: bool, as_json: bool) -> int:
    """Look at everything the file names and save it."""
    wiring = Wiring(file=file)
    options = Options(freshness=freshness_of(offline=offline, refresh=refresh), ask=not offline)
    planned = run_to_end(plan_once(wiring.world(Silent()), options))
    document = SavedObservation(name=planned.desired.name, observation=planned.observation, record=planned.record)
    text = document.model_dump_json() + "\n"
    if str(out) == "-":
        sys.stdout.write(text)
        return 0
    write_text(out, text, what="the observation", option="--out")
    unknown = [target for target in planned.observation.targets if isinstance(target, UnknownTarget)]
    _tell(out, len(text), unknown, as_json=as_json)
    return 1 if unknown else 0


def _tell(out: Path, size: int, unknown: list[UnknownTarget], *, as_json: bool) -> None:
    warnings = [f"target {one.name} did not answer: it is unknown in this observation" for one in unknown]
    if as_json:
        error = unknown_targets((one.name, one.reason, one.hint) for one in unknown)
        print_json({"file": str(out), "unknownTargets": [one.name for one in unknown]}, error=error, warnings=warnings)
        return
    sys.stdout.write(f"{out} ({show_bytes(size)}): plan with it anywhere: localmodels plan --observation {out}\n")
    sys.stderr.write("".join(one_line(f"warning: {warning}") + "\n" for warning in warnings))


def read_observation(path: Path) -> SavedObservation:
    """A saved observation.

    Raises:
        UsageError: the file cannot be read, or is not one that ``observe`` wrote.
    """
    try:
        return SavedObservation.model_validate_json(path.read_bytes())
    except OSError as error:
        reason = f"the observation cannot be read: {path}: {error.strerror}"
        raise UsageError(reason, code="file-unreadable") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "its top"
        raise UsageError(
            f"{path} is not an observation that this program wrote: {first['msg']} (at {place})",
            code="observation-unreadable",
            hint="make it again with localmodels observe --out FILE",
        ) from error


def placed(desired: DesiredState, seen: SavedObservation) -> DesiredState:
    """The desired state with its stores where the observed machine has them.

    A store without a path, or with one relative to the file, stands somewhere else on every machine.
    """
    return desired.model_copy(update={"targets": tuple(_placed(target, desired, seen) for target in desired.targets)})


def _placed(target: Target, desired: DesiredState, seen: SavedObservation) -> Target:
    there = seen.observation.target(target.name)
    if there is None or target.runtime != "store" or not there.key.startswith("store|"):
        return target
    if target.path is not None and not Path(target.path).is_relative_to(Path(desired.source).parent):
        return target
    return target.model_copy(update={"path": there.key.removeprefix("store|")})
