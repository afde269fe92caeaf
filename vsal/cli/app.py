"""The command as a whole: which verbs there are, and how the process ends."""

from __future__ import annotations

import importlib
import pkgutil
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Annotated

import typer

from vsal import __version__
from vsal.cli import verbs
from vsal.errors import Terminated

# In the order in which somebody new needs them; verbs not named here follow by name.
ORDER = (
    "demo", "plan", "prepare", "status", "inspect", "encode", "verify", "score", "export", "validate", "remap",
    "models",
)  # fmt: skip


def build() -> typer.Typer:
    """The command with every verb: each module of vsal.cli.verbs adds its own in `register(app)`."""
    app = typer.Typer(
        name="vsal",
        help="Saliency manifests for region-of-interest encoding of whole video catalogues, on Ray.",
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        add_completion=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback()
    def top(
        version: Annotated[
            bool, typer.Option("--version", help="Print the version and stop.", callback=_version, is_eager=True)
        ] = False,
    ) -> None:
        pass

    names = sorted(info.name for info in pkgutil.iter_modules(verbs.__path__))
    names.sort(key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))
    for name in names:
        importlib.import_module(f"{verbs.__name__}.{name}").register(app)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and end the process with its exit code."""
    signal.signal(signal.SIGTERM, _terminated)
    build()(args=arguments, prog_name="vsal")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


def _terminated(number: int, frame: FrameType | None) -> None:
    # A cluster that takes a machine away says so by SIGTERM: leave by the same door as Ctrl-C, so that Ray stops.
    print("vsal: terminated", file=sys.stderr)
    raise Terminated
