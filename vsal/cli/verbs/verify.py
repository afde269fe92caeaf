"""`vsal verify`: proof from the bitstream that maps acted."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vsal.cli.options import verb
from vsal.cli.screen import Screen

if TYPE_CHECKING:
    from vsal.manifest import Manifest

RECORD = ".encode.json"  # beside each output


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("verify")(verify)


@verb()
def verify(
    screen: Screen,
    out: Annotated[str, typer.Argument(help="A manifest: the --out of prepare.", metavar="MANIFEST")],
    encoded: Annotated[str, typer.Option(help="The --dest of encode.")],
    plain: Annotated[str | None, typer.Option(help="The --dest of the plain twins [default: made as needed].")] = None,
    shots: Annotated[int, typer.Option(min=1, help="Shots of a title that are looked at, spread evenly.")] = 12,
    pictures: Annotated[bool, typer.Option(help="Write a picture of each proof beside the encode.")] = True,
) -> int:
    """Prove from the bitstream that the maps acted: obeyed, weak or ignored, with the figure and a picture.

    A title that cannot be looked at is told as failed, and the others go on. The exit code is 0 if all are obeyed.
    """
    from vsal import storage
    from vsal.errors import SettingsError, VsalError
    from vsal.manifest import read_manifest

    records = [info.uri for info in storage.list_files(encoded, recursive=False) if info.uri.endswith(RECORD)]
    if not records:
        raise SettingsError(f"{encoded} holds no encode of vsal: write some with `vsal encode {out} --dest {encoded}`")
    manifest, titles = read_manifest(out), []
    for uri in records:
        title_id = storage.name(uri).removesuffix(RECORD)
        try:
            with screen.log.status(f"verifying {title_id}"):
                titles.append(_proved(manifest, title_id, uri, encoded, plain, shots, pictures))
        except (VsalError, OSError) as error:
            # One title's source or encode that is gone or damaged says nothing of the others.
            titles.append({"title_id": title_id, "verdict": "failed", "detail": str(error)})
        screen.show(_line(titles[-1]))
    screen.document({"titles": titles})
    return 0 if all(title["verdict"] == "obeyed" for title in titles) else 1


def _proved(
    manifest: Manifest, title_id: str, record_uri: str, encoded: str, plain: str | None, shots: int, pictures: bool
) -> dict[str, Any]:
    from vsal import storage
    from vsal.encode.proof.picture import proof_picture
    from vsal.encode.proof.verify import verify_title
    from vsal.encode.settings import EncodeSettings
    from vsal.errors import Reason, TitleFailed

    try:
        record = json.loads(storage.read_bytes(record_uri))
        settings, output, gain = (
            EncodeSettings.from_json(record["settings"]),
            record["outputs"][0]["name"],
            record["gain"],
        )
    except (ValueError, LookupError, TypeError) as error:
        told = f"{record_uri} is no record of an encode ({type(error).__name__}: {error}): encode the title again"
        raise TitleFailed(Reason.UNREADABLE, told) from error
    twin = None if plain is None else storage.join(plain, output)
    with manifest.title(title_id) as title:
        proof = verify_title(title, storage.join(encoded, output), settings, twin, gain, most_shots=shots)
    if pictures:
        storage.write_bytes(record_uri.removesuffix(RECORD) + ".proof.png", proof_picture(proof))
    return proof.to_json()


def _line(title: dict[str, Any]) -> str:
    from rich.markup import escape

    colour = {"obeyed": "green", "weak": "yellow"}.get(title["verdict"], "red")
    figure = f"  correlation {title['correlation']:.3f}" if title.get("shots") else ""
    return f"[{colour}]{title['verdict']}[/]  {escape(title['title_id'])}{figure}  {escape(title['detail'])}".rstrip()
