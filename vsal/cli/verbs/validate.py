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

    from vsal import manifest, storage
    from vsal.errors import SettingsError

    if out.endswith(".parquet"):
        files = [out]
    else:
        files = [info.uri for info in storage.list_files(storage.join(out, "maps"), recursive=False)]
        files = [uri for uri in files if uri.endswith(".parquet")]
        if not files:
            raise SettingsError(f"there is no manifest in {out}: it has no maps/*.parquet")
    problems = {uri: manifest.validate(uri) for uri in files}
    bad = {uri: found for uri, found in problems.items() if found}
    screen.document({"files": len(files), "problems": bad})
    for uri, found in bad.items():
        screen.show(*(f"[red]{escape(uri)}[/]: {escape(problem)}" for problem in found))
    screen.show(f"{len(files)} files, {len(bad)} with problems")
    return 1 if bad else 0
