"""`vsal verify`: proof from the bitstream that maps acted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from vsal.cli.options import verb
from vsal.cli.screen import Screen
from vsal.settings import RunSettings

if TYPE_CHECKING:
    from vsal.distributed.outcomes import Outcome

RUN = frozenset({"attempts", "stall_s", "title_timeout_s", "titles_in_flight", "object_store_mb"})


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("verify")(verify)


@verb(RunSettings, only=RUN)
def verify(
    screen: Screen,
    run: RunSettings,
    out: Annotated[str, typer.Argument(help="A manifest: the --out of prepare.", metavar="MANIFEST")],
    encoded: Annotated[str, typer.Option(help="The --dest of encode.")],
    plain: Annotated[str | None, typer.Option(help="The --dest of the plain twins [default: made as needed].")] = None,
    shots: Annotated[int, typer.Option(min=1, help="Shots of a title that are looked at, spread evenly.")] = 12,
    pictures: Annotated[bool, typer.Option(help="Write a picture of each proof beside the encode.")] = True,
    address: Annotated[
        str | None,
        typer.Option(help="Ray cluster to join, host:port or 'auto' \\[default: start Ray here, if it is worth it]."),
    ] = None,
) -> int:
    """Prove from the bitstream that the maps acted: obeyed, weak or ignored, with the figure and a picture.

    A title that cannot be looked at is told as failed, and the others go on. The exit code is 0 if all are obeyed.
    """
    from vsal.distributed.verify import verify_catalogue
    from vsal.encode.proof.titles import Verification

    asked = Verification(out, encoded, plain, shots, pictures)
    with screen.log.status("verifying"):
        outcomes = verify_catalogue(
            asked, run, address=address, on_title=lambda outcome: screen.show(_line(_told(outcome)))
        )
    titles = [_told(outcome) for outcome in outcomes]
    screen.document({"titles": titles})
    return 0 if all(title["verdict"] == "obeyed" for title in titles) else 1


def _told(outcome: Outcome) -> dict[str, Any]:
    told = {"title_id": outcome.title_id, "detail": outcome.detail}
    if outcome.status == "failed":
        return told | {"verdict": "failed", "reason": str(outcome.reason)}
    return told | dict(outcome.figures)


def _line(title: dict[str, Any]) -> str:
    from rich.markup import escape

    colour = {"obeyed": "green", "weak": "yellow"}.get(title["verdict"], "red")
    figure = f"  correlation {title['correlation']:.3f}" if title.get("shots") else ""
    return f"[{colour}]{title['verdict']}[/]  {escape(title['title_id'])}{figure}  {escape(title['detail'])}".rstrip()
