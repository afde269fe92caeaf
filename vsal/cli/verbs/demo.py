"""`vsal demo`: the whole way on a title that is rendered on the spot."""

from __future__ import annotations

from typing import Annotated

import typer

from vsal.cli.options import verb
from vsal.cli.progress import display
from vsal.cli.screen import Screen


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("demo")(demo)


@verb()
def demo(
    screen: Screen,
    out: Annotated[str, typer.Option("--out", "-o", help="Folder for the video, the manifest and the pictures.")] = (
        "demo"
    ),
    seconds: Annotated[float, typer.Option(help="Length of the title, in seconds.", min=4, max=600)] = 12.0,
) -> int:
    """Render a title that looks like video, prepare it on Ray here, and draw its shots."""
    from rich.markup import escape

    from vsal.cli.verbs.prepare import lines
    from vsal.demo import run_demo

    with display(screen.log) as report:
        result = run_demo(out, seconds, on_progress=report, on_step=screen.note)
    screen.document(result.document())
    if result.summary.exit_code == 0:
        screen.show(
            *lines(result.summary)[:-1],
            "",
            f"video      {escape(result.video)}",
            f"manifest   {escape(result.manifest)}",
            *(f"pictures   {escape(path)}" for path in result.pictures[:1]),
            *(f"           {escape(path)}" for path in result.pictures[1:]),
        )
    else:
        screen.show(*lines(result.summary))
    return result.summary.exit_code
