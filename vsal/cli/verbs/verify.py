"""`vsal verify`: proof from the bitstream that maps acted."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from vsal.cli.options import verb
from vsal.cli.screen import Screen


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
    """Prove from the bitstream that the maps acted: obeyed, weak or ignored, with the figure and a picture."""
    from rich.markup import escape

    from vsal import storage
    from vsal.encode.proof.picture import proof_picture
    from vsal.encode.proof.verdict import Verdict
    from vsal.encode.proof.verify import verify_title
    from vsal.encode.settings import EncodeSettings
    from vsal.errors import SettingsError
    from vsal.manifest import read_manifest

    suffix = ".encode.json"
    records = [info.uri for info in storage.list_files(encoded, recursive=False) if info.uri.endswith(suffix)]
    if not records:
        raise SettingsError(f"{encoded} holds no encode of vsal: write some with `vsal encode {out} --dest {encoded}`")
    manifest, proofs = read_manifest(out), []
    for uri in records:
        record = json.loads(storage.read_bytes(uri))
        settings = EncodeSettings.from_json(record["settings"])
        twin = None if plain is None else storage.join(plain, record["output"])
        with screen.log.status(f"verifying {record['title_id']}"), manifest.title(record["title_id"]) as title:
            proof = verify_title(
                title, storage.join(encoded, record["output"]), settings, twin, record["gain"], most_shots=shots
            )
        if pictures:
            storage.write_bytes(uri.removesuffix(suffix) + ".proof.png", proof_picture(proof))
        proofs.append(proof)
        colour = {Verdict.OBEYED: "green", Verdict.WEAK: "yellow", Verdict.IGNORED: "red"}[proof.verdict]
        told = f"[{colour}]{proof.verdict}[/]  {escape(proof.title_id)}  correlation {proof.correlation:.3f}"
        screen.show(f"{told}  {escape(proof.detail)}".rstrip())
    screen.document({"titles": [proof.to_json() for proof in proofs]})
    return 0 if all(proof.verdict is Verdict.OBEYED for proof in proofs) else 1
