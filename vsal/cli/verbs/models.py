"""`vsal models`: what can be chosen with --model, and how a model of one's own comes among them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from vsal.cli.options import verb
from vsal.cli.screen import Screen

if TYPE_CHECKING:
    from vsal.saliency import Entry
    from vsal.saliency.foreign import Interface


def register(app: typer.Typer) -> None:
    """Add the verb."""
    group = typer.Typer(help="Saliency models that --model can name.", no_args_is_help=True)
    group.command("list")(list_models)
    group.command("add")(add_model)
    app.add_typer(group, name="models")


@verb()
def list_models(
    screen: Screen,
    timed: Annotated[bool, typer.Option("--time/--no-time", help="Run each model to say its ms a frame.")] = True,
) -> None:
    """List the registered models: kind, size, ms a frame on one core of this machine, licence, training data, sha256.

    Each is loaded and checked as a run would do it; what is refused is shown with the reason.
    """
    from vsal.saliency import registry
    from vsal.settings import SHIPPED_MODEL

    documents = []
    with screen.log.status("running each model"):
        for entry in registry.list_models():
            documents.append(_document(entry, timed))
    screen.document({"default": SHIPPED_MODEL, "folder": str(registry.user_folder()), "models": documents})
    if not screen.as_json:
        screen.show(*(_shown(documents) if documents else ["No model is registered."]))


def _document(entry: Entry, timed: bool) -> dict[str, Any]:
    from vsal.saliency import ModelRefused, load_model
    from vsal.saliency.timing import frame_ms

    ms, refused = None, None
    try:
        model = load_model(entry.name, accept_licence=True)
        ms = round(frame_ms(model.data), 2) if timed else None
    except ModelRefused as error:
        refused = str(error)
    return {
        "name": entry.name,
        "kind": entry.kind,
        "bytes": entry.path.stat().st_size if entry.path.exists() else None,
        "parameters": entry.parameters,
        "ms_a_frame": ms,
        "licence": entry.licence,
        "training_data": list(entry.training_data),
        "teachers": None if entry.teachers is None else list(entry.teachers),
        "ancestors": None if entry.ancestors is None else list(entry.ancestors),
        "sha256": entry.sha256,
        "path": str(entry.path),
        "refused": refused,
    }


def _shown(documents: list[dict[str, Any]]) -> list[Any]:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from vsal.settings import SHIPPED_MODEL

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("name", "kind", "size", "parameters", "ms a frame", "licence", "training data", "sha256"):
        table.add_column(name, justify="right" if name in ("size", "parameters", "ms a frame") else "left")
    for model in documents:
        table.add_row(
            escape(model["name"]) + (" (default)" if model["name"] == SHIPPED_MODEL else ""),
            model["kind"],
            f"{model['bytes'] / 1e6:.1f} MB" if model["bytes"] is not None else "[red]missing[/]",
            f"{model['parameters'] / 1e6:.2f} M",
            f"{model['ms_a_frame']:.1f}" if model["ms_a_frame"] is not None else "",
            escape(model["licence"]),
            escape("; ".join(model["training_data"]) or "not stated"),
            model["sha256"][:16],
        )
    return [table, *(f"[red]refused[/]  {escape(model['refused'])}" for model in documents if model["refused"])]


@verb()
def add_model(
    screen: Screen,
    file: Annotated[str, typer.Argument(help="Path or URI of an .onnx file.")],
    licence: Annotated[str, typer.Option("--licence", help="SPDX expression of the weights' licence.")],
    kind: Annotated[
        str | None,
        typer.Option(
            "--kind", help="image, clip or recurrent; leave it out for a graph that keeps vsal's contract already."
        ),
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="To register it by [default: the file's name].")] = None,
    normalise: Annotated[
        str,
        typer.Option("--normalise", help="Colours: imagenet, none (0..1), raw (0..255), symmetric (-1..1) or caffe."),
    ] = "imagenet",
    layout: Annotated[
        str, typer.Option("--layout", help="nchw (colours before height) or nhwc (colours last).")
    ] = "nchw",
    output: Annotated[
        str, typer.Option("--output", help="What the graph gives: mask (0..1), logits, density or log-density.")
    ] = "mask",
    mask_of: Annotated[
        str, typer.Option("--mask-of", help="Frame of a clip that its mask is of: last or centre.")
    ] = "last",
    clip_frames: Annotated[
        int | None, typer.Option("--clip-frames", min=1, help="Frames of a clip, where the graph leaves them free.")
    ] = None,
    size: Annotated[
        str | None,
        typer.Option("--size", metavar="WxH", help="Size of the frames, where the graph leaves it free."),
    ] = None,
    multiple: Annotated[
        int, typer.Option("--multiple", min=1, help="What height and width must be multiples of, where they are free.")
    ] = 32,
    frames_input: Annotated[
        str | None, typer.Option("--frames-input", help="Input that takes the frames, if not the first that fits.")
    ] = None,
    mask_output: Annotated[
        str | None, typer.Option("--mask-output", help="Output that gives the mask, if not the first.")
    ] = None,
    state: Annotated[
        list[str] | None, typer.Option("--state", metavar="IN=OUT", help="A state of a recurrent model; for each one.")
    ] = None,
    training_data: Annotated[
        list[str] | None, typer.Option("--training-data", help="What it was trained on, with the terms; for each one.")
    ] = None,
    teacher: Annotated[
        list[str] | None, typer.Option("--teacher", help="Model whose answers it has learned from; for each one.")
    ] = None,
    ancestor: Annotated[
        list[str] | None, typer.Option("--ancestor", help="Model whose weights it began with; for each one.")
    ] = None,
    no_lineage: Annotated[bool, typer.Option("--no-lineage", help="It has neither teacher nor ancestor.")] = False,
    sha256: Annotated[str | None, typer.Option("--sha256", help="That the file must have, as published.")] = None,
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="Register a model whose licence forbids commercial use.")
    ] = False,
    replace: Annotated[bool, typer.Option("--replace", help="In the place of your own model of that name.")] = False,
) -> None:
    """Register a model of your own, wrapped into vsal's contract: one new file in your folder of models.

    VSAL_MODELS names that folder; by default it is ~/.local/share/vsal/models.
    """
    from vsal.saliency.register import add_model as add

    interface = None
    if kind is not None:
        interface = _interface(
            kind=_one_of("--kind", kind, ("image", "clip", "recurrent")),
            normalise=_one_of("--normalise", normalise, ("imagenet", "none", "raw", "symmetric", "caffe")),
            layout=_one_of("--layout", layout, ("nchw", "nhwc")),
            output=_one_of("--output", output, ("mask", "logits", "density", "log-density")),
            mask_of=_one_of("--mask-of", mask_of, ("last", "centre")),
            clip_frames=clip_frames,
            size=_size(size),
            multiple=multiple,
            frames_input=frames_input,
            mask_output=mask_output,
            states=_pairs(state or []),
        )
    with screen.log.status("checking the model"):
        entry = add(
            file,
            interface,
            licence,
            name=name,
            training_data=training_data or [],
            teachers=teacher or ([] if ancestor or no_lineage else None),
            ancestors=ancestor or ([] if teacher or no_lineage else None),
            sha256=sha256,
            accept_licence=accept_licence,
            replace=replace,
        )
    document = _document(entry, timed=True)
    screen.document(document)
    if not screen.as_json:
        screen.show(*_shown([document]), f"Registered in {entry.folder}. Use it with --model {entry.name}.")


def _interface(**values: Any) -> Interface:
    from vsal.saliency.foreign import Interface

    return Interface(**values)


def _one_of(option: str, value: str, allowed: tuple[str, ...]) -> str:
    from vsal.errors import SettingsError

    if value not in allowed:
        raise SettingsError(f"{option} is one of {', '.join(allowed)}, not {value!r}")
    return value


def _size(text: str | None) -> tuple[int, int] | None:
    from vsal.errors import SettingsError

    if text is None:
        return None
    width, _, height = text.partition("x")
    if not (width.isascii() and width.isdigit() and height.isascii() and height.isdigit() and int(width) * int(height)):
        raise SettingsError(f"--size is a width and a height such as 384x224, not {text!r}")
    return int(width), int(height)


def _pairs(texts: list[str]) -> dict[str, str]:
    from vsal.errors import SettingsError

    pairs = {}
    for text in texts:
        before, equals, after = text.partition("=")
        if not (before and equals and after) or "=" in after:
            raise SettingsError(f"--state is the name of an input and of an output such as h0=hn, not {text!r}")
        pairs[before] = after
    return pairs
