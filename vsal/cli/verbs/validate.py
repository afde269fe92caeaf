"""`vsal validate`: does a manifest keep what it promises."""

from __future__ import annotations

from typing import Annotated

import typer

from vsal.cli.options import verb
from vsal.cli.screen import Screen


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("validate")(validate)


@verb()
def validate(
    screen: Screen,
    out: Annotated[str, typer.Argument(help="A manifest (the --out of prepare), or one of its .parquet files.")],
) -> int:
    """Check a manifest: schema, every frame in exactly one map, sizes and ranges.

    Ends with 1 if there is a problem.
    """
    from rich.markup import escape

    from vsal import manifest
    from vsal.errors import SettingsError

    try:
        with screen.log.status("reading"):
            problems = manifest.validate(out)
    except FileNotFoundError as error:
        raise SettingsError(f"there is no manifest at {out}") from error
    screen.document({"manifest": out, "valid": not problems, "problems": problems})
    screen.show(*(f"[red]problem[/]  {escape(problem)}" for problem in problems))
    screen.show(f"{len(problems)} problems" if problems else "The manifest is valid.")
    return 1 if problems else 0
