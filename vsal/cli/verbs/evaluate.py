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

    from vsal.evaluate.roi.table import RoiTable
    from vsal.evaluate.saliency.table import Evaluation

AGGREGATORS: tuple[str, ...] = get_args(AggregatorName)
SHAPING = frozenset(
    {"sample_rate", "map_interval", "samples_per_map", "ema_alpha", "ema_half_life_s", "smooth_s", "accept_licence"}
    | {"qp_mapping", "qp_floor", "qp_limit", "qp_offset"}
)
RUN = frozenset(
    {
        "attempts",
        "stall_s",
        "title_timeout_s",
        "grace_s",
        "max_failed",
        "retry_failed",
        "titles_in_flight",
        "object_store_mb",
    }
)


def register(app: typer.Typer) -> None:
    """Add the verb."""
    group = typer.Typer(help="Figures on data sets whose truth is known.", no_args_is_help=True)
    group.command("saliency")(saliency)
    group.command("roi")(roi)
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


@verb(RunSettings, only=RUN)
def roi(
    screen: Screen,
    run: RunSettings,
    catalog: Annotated[str, typer.Argument(help="Videos, as prepare takes them.", metavar="CATALOG")],
    dest: Annotated[str, typer.Option(help="Where encodes' figures, maps and tables go: a folder, s3:// or gs://.")],
    weights: Annotated[
        str, typer.Option(help="By whose account: gaze:FOLDER, mask:FILES, model:NAME or none.", metavar="KIND:WHAT")
    ],
    arm: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME:key=value,... with model, mode, aggregator, half-life, interval, rate, smooth, mapping, floor, "
            "limit, offset, maps, kind, gain, spread, CODEC.KEY; for each one [default: what prepare does]."
        ),
    ] = None,
    codec: Annotated[list[str] | None, typer.Option(help="Encoder; for each one \\[default: x264].")] = None,
    crf: Annotated[list[str] | None, typer.Option(help="Rates: 24,29,34,39, or CODEC=24,29,...; six each.")] = None,
    preset: Annotated[
        list[str] | None, typer.Option(help="WORD or CODEC=WORD \\[default: fast; 8 for svtav1].")
    ] = None,
    encoder_option: Annotated[
        list[str] | None, typer.Option(help="key=value for every encode, CODEC.key=value for one encoder's.")
    ] = None,
    seconds: Annotated[float | None, typer.Option(min=0.1, help="Of a title, or of each shot, from its start.")] = None,
    shots_per_title: Annotated[int | None, typer.Option(min=1, help="Judge so many shots, spread evenly.")] = None,
    metrics: Annotated[
        str, typer.Option(help="basic: PSNR and SSIM. full: VMAF, VMAF NEG, weighted VMAF, CAMBI and XPSNR too.")
    ] = "basic",
    every: Annotated[int, typer.Option(min=1, help="Of the full metrics: score every nth frame.")] = 1,
    equal_spread: Annotated[
        float | None, typer.Option(min=0.1, help="QP: every arm once more with offsets that deviate by so much.")
    ] = None,
    tune: Annotated[
        bool, typer.Option("--tune", help="First search the strength of the first --arm; writes settings files.")
    ] = False,
    address: Annotated[
        str | None, typer.Option(help="Ray cluster to join, host:port or 'auto' \\[default: start Ray here].")
    ] = None,
) -> int:
    """Say what maps give in an encoder: BD-rates by an account of whom it is for, beside controls that always stand.

    Every title is encoded plain and under each arm at each rate. Encodes are kept by what made them: the same command
    goes on where it stopped, and more arms, rates or titles cost only what is new. DEST/evaluation.md is the table.
    """
    from rich.markup import escape

    from vsal.catalog import read_catalog
    from vsal.cli.progress import display, failure_lines, span
    from vsal.cli.roi_tables import rates_of, screen_table
    from vsal.distributed.evaluate import evaluate_catalogue
    from vsal.errors import SettingsError
    from vsal.evaluate.roi.account import NoAccount
    from vsal.evaluate.roi.arms import at_spread, parse_arm, status_quo, with_controls
    from vsal.evaluate.roi.document import document_of
    from vsal.evaluate.roi.independence import independent, open_account
    from vsal.evaluate.roi.ladder import Ladder
    from vsal.evaluate.roi.points import Metrics
    from vsal.evaluate.roi.verdict import judge, warnings_of

    if metrics not in ("basic", "full"):
        raise SettingsError(f"--metrics is basic or full, not {metrics!r}")
    account, titles = open_account(weights, dest), read_catalog(catalog)
    asked = [parse_arm(text) for text in arm or ["default"]]
    rates = rates_of(codec or ["x264"], crf or [], preset or [], encoder_option or [])
    measured = Metrics(metrics == "full", every)
    if tune:
        from vsal.cli.roi_tune import tune as tuned
        from vsal.distributed.cluster import ray_cluster
        from vsal.errors import RunStopped

        independent(account, asked)
        bare = Ladder(dest, account, (), rates, measured, seconds, shots_per_title)
        with ray_cluster(run, address), display(screen.log) as report:  # one cluster for all rounds

            def round_of(ladder: Ladder) -> RoiTable:
                summary, table = evaluate_catalogue(titles, ladder, run, address=address, on_progress=report)
                if summary.stopped:
                    raise RunStopped(summary.stopped)
                return table

            asked += tuned(bare, asked[0], round_of, screen.note)
    arms = [status_quo(), *asked]
    has_truth = not isinstance(account, NoAccount) and account.name.partition(":")[0] in ("gaze", "mask")
    standing = with_controls(arms, has_truth)
    if equal_spread is not None:
        standing += at_spread(standing, equal_spread)
    standing, left_out = independent(account, standing)
    ladder = Ladder(dest, account, tuple(standing), rates, measured, seconds, shots_per_title)
    for text in left_out:
        screen.note(text)
    with display(screen.log) as report:
        summary, table = evaluate_catalogue(titles, ladder, run, address=address, on_progress=report)
    screen.document(summary.document() | {"left_out": left_out, "evaluation": document_of(table)})
    done, failed = (summary.count(status) for status in ("done", "failed"))
    screen.show(
        escape(f"Account: {table.account[0]}: {table.account[1]}."),
        *(screen_table(table, name) for name in table.codecs),
        *(f"[yellow]warning[/]  {escape(text)}" for text in warnings_of(table)),
        *(escape(judge(table, name, of.name).text) for name in table.codecs for of in table.candidates),
        *failure_lines(summary.failed(), f"{dest}/runs/{summary.run_id}.json"),
        f"[bold]{done} titles[/], {failed} failed, {len(table.rows)} encodes, in {span(summary.seconds)}: "
        f"{escape(dest)}/evaluation.md",
    )
    return summary.exit_code
