"""The commands that edit the file or the record, and the mirror."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reconciler.cli import options


def add_to(app: typer.Typer) -> None:
    """Every command of this file, in the order help shows them."""
    pool = typer.Typer(rich_markup_mode=None, help="Show or edit the budget and the trust in the file.")
    pool.callback()(lambda: None)
    pool.command("show")(pool_show)
    pool.command("set-budget")(pool_set_budget)
    pool.command("allow-org")(pool_allow_org)
    pool.command("allow-family")(pool_allow_family)
    app.add_typer(pool, name="pool")
    for one in (install, evict, adopt, disown, rebuild, destroy, mirror):
        app.command()(one)


def pool_show(file: options.File = None, json: options.Json = False) -> int:
    """Show budget, publishers, packagers, families, licences.

    And what is kept, and what is never installed.
    """
    from reconciler.cli.commands.pool import show_pool

    return show_pool(file, as_json=json)


def pool_set_budget(
    size: Annotated[str, typer.Argument(help="Such as 120GB or 120GiB.")],
    file: options.File = None,
    json: options.Json = False,
) -> int:
    """Set pool.diskBudget in the file."""
    from reconciler.cli.commands.edit import set_budget

    return set_budget(file, size, as_json=json)


def pool_allow_org(
    org: Annotated[str, typer.Argument(help="A publisher, spelled as on the Hub.")],
    file: options.File = None,
    json: options.Json = False,
) -> int:
    """Add a publisher to pool.allowedOrgs in the file."""
    from reconciler.cli.commands.edit import allow_org

    return allow_org(file, org, as_json=json)


def pool_allow_family(
    family: Annotated[str, typer.Argument(help="Such as qwen, qwen3 or llama-3.")],
    file: options.File = None,
    json: options.Json = False,
) -> int:
    """Add a family to pool.allowedFamilies in the file.

    An empty list allows every family: the first one that is added leaves only itself allowed.
    """
    from reconciler.cli.commands.edit import allow_family

    return allow_family(file, family, as_json=json)


def install(
    name: Annotated[str, typer.Argument(help="A model id, a repository, or an Ollama name.")],
    file: options.File = None,
    json: options.Json = False,
    quant: Annotated[
        str | None, typer.Option("--quant", envvar="LOCALMODELS_QUANT", metavar="QUANT", help="Such as Q4_K_M.")
    ] = None,
    target: options.TargetName = None,
    slot_name: Annotated[
        str | None,
        typer.Option(
            "--slot-name", envvar="LOCALMODELS_SLOT_NAME", metavar="NAME", help="Else called after the model."
        ),
    ] = None,
) -> int:
    """Pin a model in the file.

    As its last slot; apply then installs it.
    """
    from reconciler.cli.commands.edit import install

    return install(file, name, quant=quant, target=target, slot_name=slot_name, as_json=json)


def evict(
    name: Annotated[str, typer.Argument(help="A pin's slot, or a model by any name that status shows.")],
    file: options.File = None,
    json: options.Json = False,
) -> int:
    """Take a model out of the file.

    A pin's slot is removed; a model that a ranked slot picked is added to pool.never. Apply then evicts it.
    """
    from reconciler.cli.commands.evict import evict

    return evict(file, name, as_json=json)


def adopt(
    name: Annotated[
        str, typer.Argument(help="A model that is installed and not ours, as status shows it; or adapter/NAME.")
    ],
    file: options.File = None,
    json: options.Json = False,
    target: options.TargetName = None,
    lock_timeout: options.LockTimeout = 0.0,
) -> int:
    """Take an installed model over, or a served adapter.

    From then on it is ours: updated and evicted like any other. Names and adapters of the file that stand on a model
    come with it. An adapter must be what the file asks for, its content too.
    """
    from reconciler.cli.commands.own import adopt

    return adopt(file, name, target=target, lock_timeout_seconds=lock_timeout, as_json=json)


def disown(
    name: Annotated[str, typer.Argument(help="A model of ours, as status shows it; or adapter/NAME.")],
    file: options.File = None,
    json: options.Json = False,
    target: options.TargetName = None,
    lock_timeout: options.LockTimeout = 0.0,
) -> int:
    """Let a model or an adapter go; it stays where it is.

    From then on it is not ours, and nothing touches it. Names and adapters of ours that stand on a model go with it.
    """
    from reconciler.cli.commands.own import disown

    return disown(file, name, target=target, lock_timeout_seconds=lock_timeout, as_json=json)


def rebuild(
    file: options.File = None,
    json: options.Json = False,
    yes: options.Yes = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", envvar="LOCALMODELS_DRY_RUN", help="Only show what would be ours.")
    ] = False,
    take_over: options.TakeOver = False,
    lock_timeout: options.LockTimeout = 0.0,
) -> int:
    """Make a lost record again.

    From its journal, as far as the targets hold what it says. A record that is whole is never overwritten.
    """
    from reconciler.cli.commands.rebuild import run_rebuild

    return run_rebuild(file, yes=yes, dry=dry_run, take_over=take_over, lock_timeout_seconds=lock_timeout, as_json=json)


def destroy(
    file: options.File = None,
    json: options.Json = False,
    yes: options.Yes = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", envvar="LOCALMODELS_DRY_RUN", help="Only show what would go.")
    ] = False,
    lock_timeout: options.LockTimeout = 0.0,
) -> int:
    """Remove everything that is ours.

    On targets that left the file too, where they answer. Nothing else is touched.
    """
    from reconciler.cli.commands.destroy import run_destroy

    return run_destroy(file, yes=yes, dry=dry_run, lock_timeout_seconds=lock_timeout, as_json=json)


def mirror(
    dir: Annotated[  # noqa: A002 - the option's own name
        Path, typer.Option("--dir", envvar="LOCALMODELS_DIR", help="A folder laid out ORG/REPO/FILE, such as a store.")
    ],
    host: Annotated[str, typer.Option("--host", envvar="LOCALMODELS_HOST", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option("--port", envvar="LOCALMODELS_PORT", min=0, max=65535, help="0 takes a free one."),
    ] = 0,
    json: options.Json = False,
) -> int:
    """Serve a store read-only as a Hub.

    Prints its URL first: for hub.endpoint in a file, or HF_ENDPOINT. Ends on Ctrl-C or SIGTERM.
    """
    from reconciler.cli.commands.mirror import run_mirror

    return run_mirror(dir, host=host, port=port, as_json=json)
