"""`vsal evaluate`: figures of models and aggregators on data sets whose truth is known."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from vsal.cli.options import verb
from vsal.cli.screen import Screen
from vsal.settings import SHIPPED_MODEL, AggregatorName, PrepareSettings, RunSettings

if TYPE_CHECKING:
    from rich.table import Table

    from vsal.evaluate.saliency.table import Evaluation

AGGREGATORS: tuple[str, ...] = get_args(AggregatorName)
SHAPING = frozenset(
    {"sample_rate", "map_interval", "samples_per_map", "ema_alpha", "ema_half_life_s", "smooth_s", "accept_licence"}
    | {"qp_mapping", "qp_floor", "qp_limit", "qp_offset"}
)


def register(app: typer.Typer) -> None:
    """Add the verb."""
    group = typer.Typer(help="Figures on data sets whose truth is known.", no_args_is_help=True)
    group.command("saliency")(saliency)
    app.add_typer(group, name="evaluate")


@verb(PrepareSettings, RunSettings, only=SHAPING)
def saliency(
    screen: Screen,
    settings: PrepareSettings,
    run: RunSettings,
    dataset: Annotated[
        str,
        typer.Option(
            "--dataset",
            metavar="KIND:PATH",
            help="gaze, masks, parquet, davis, dhf1k, hollywood2, ucf-sports, ledov or avimos with the root of the "
            "set; or synthetic with a number of titles.",
        ),
    ],
    model: Annotated[
        list[str] | None,
        typer.Option("--model", help="Registered name, path or URI of a model; for each one [default: the shipped]."),
    ] = None,
    aggregator: Annotated[
        list[str] | None,
        typer.Option(
            "--aggregator",
            help="mean, ema, max, motion, learned or smooth; for each one [default: all; with gaze: prepare's own]. "
            "learned is for models of kind video.",
        ),
    ] = None,
    judge_rate: Annotated[
        float, typer.Option("--judge-rate", min=0.01, max=240, help="Frames a second at which maps are judged.")
    ] = 12.0,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Judge so many items only, spread over the set.")
    ] = None,
    gpu: Annotated[bool, typer.Option("--gpu", help="Run the models on a GPU; never falls back.")] = False,
    threads: Annotated[int, typer.Option("--threads", min=1, help="Cores that a model uses.")] = 1,
    gaze_teacher: Annotated[
        Path | None,
        typer.Option(
            "--gaze-teacher",
            help="With gaze: ONNX file of the untrained blend's teacher "
            "[default: teachers/fastgaze.onnx beside the set].",
        ),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep/--no-keep", help="With gaze: keep scans, masks and scores in the user's cache.")
    ] = True,
    markdown: Annotated[bool, typer.Option("--markdown", help="With gaze: print the tables as Markdown.")] = False,
) -> None:
    """Hold models and aggregators against masks or gaze, beside the fixed prior and a shuffled baseline.

    Clips are sampled and mapped as prepare would do it; models with a memory begin anew at each shot. Sets of masks
    give IoU and CC of block grids; sets of gaze CC, NSS, AUC-Judd, SIM and KL; clips flicker too: how much maps change
    where the truth does not.

    gaze:FOLDER, clips with the fixations of many observers, is judged on the maps that prepare writes, beside
    observers, the best fixed prior, another clip's looks, the first students and an untrained blend.
    """
    from vsal.errors import SettingsError

    if dataset.startswith("gaze:"):
        from vsal.cli.gaze_tables import Asked, gaze

        asked = Asked(
            dataset=dataset,
            models=model or [],
            aggregators=aggregator or [],
            judge_rate=judge_rate,
            limit=limit,
            teacher=gaze_teacher,
            keep=keep,
            markdown=markdown,
            device="gpu" if gpu else "cpu",
            threads=threads,
        )
        gaze(screen, settings, run, asked)
        return
    from vsal.evaluate.saliency.sets import open_dataset
    from vsal.evaluate.saliency.table import evaluate
    from vsal.saliency import SaliencySession, load_model

    chosen = list(dict.fromkeys(aggregator or AGGREGATORS))
    unknown = sorted(set(chosen) - set(AGGREGATORS))
    if unknown:
        raise SettingsError(f"--aggregator is one of {', '.join(AGGREGATORS)}, not {', '.join(unknown)}")
    opened = open_dataset(dataset)
    models = [load_model(name, accept_licence=run.accept_licence) for name in dict.fromkeys(model or [SHIPPED_MODEL])]
    if len({loaded.name for loaded in models}) < len(models):
        raise SettingsError("two models have one name: register them under different ones (vsal models add --name)")
    sessions = [(m.name, SaliencySession(m.data, device="gpu" if gpu else "cpu", threads=threads)) for m in models]
    gateless = [name for name, session in sessions if not session.input.gives_gate]
    if chosen == ["learned"] and len(gateless) == len(sessions):
        raise SettingsError(_left_out(gateless))
    with screen.log.status("reading") as status:
        result = evaluate(
            opened,
            sessions,
            chosen,
            settings,
            judge_rate_hz=judge_rate,
            limit=limit,
            on_item=lambda done, total: status.update(f"{done} of {total} items"),
        )
    if not result.frames:
        raise SettingsError(f"no frame of {dataset} has a truth to judge by")
    document = result.document()
    document["models"] = {loaded.name: loaded.sha256 for loaded in models}
    document["settings"] = {
        "sample_rate": settings.sample_rate,
        "map_interval": settings.map_interval,
        "samples_per_map": settings.samples_per_span or settings.samples_per_map,
        "ema_alpha": settings.alpha,
        "smooth_s": settings.smooth_s,
        "judge_rate": judge_rate,
    }
    screen.document(document)
    if not screen.as_json:
        if result.left_out:
            screen.note(_left_out(model for model, _ in result.left_out))
        screen.show(
            _table(result),
            f"{result.items} items, {result.frames} frames judged, {opened.truth} of {dataset}: {opened.part}",
        )


def _left_out(models: Iterable[str]) -> str:
    names = ", ".join(models)
    return f"The aggregator learned needs the gate that models of kind video give, and there is none of: {names}"


def _table(result: Evaluation) -> Table:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    names = {"iou": "block IoU", "cc": "CC", "nss": "NSS", "auc_judd": "AUC-Judd", "sim": "SIM", "kl": "KL"}
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("model")
    table.add_column("aggregator")
    for column in result.columns:
        table.add_column(names.get(column, column), justify="right")
    for row in result.rows:
        figures = [row.figures[column] for column in result.columns]
        shown = ["" if value is None else f"{value:.4f}" if abs(value) < 0.1 else f"{value:.3f}" for value in figures]
        table.add_row(escape(row.model), row.aggregator or "", *shown)
    return table
