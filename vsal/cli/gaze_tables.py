"""`vsal evaluate saliency --dataset gaze:FOLDER`: the protocol on people's gaze, and its tables on the screen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from vsal.cli.screen import Screen
from vsal.errors import SettingsError
from vsal.settings import AggregatorName, PrepareSettings, RunSettings

if TYPE_CHECKING:
    from rich.table import Table

    from vsal.evaluate.saliency.arms import Arm
    from vsal.evaluate.saliency.protocol import GazeTable

AGGREGATORS: tuple[str, ...] = get_args(AggregatorName)


@dataclass(frozen=True, slots=True)
class Asked:
    """What `vsal evaluate saliency` was asked for, as its options say it."""

    dataset: str
    models: Sequence[str]
    aggregators: Sequence[str]
    judge_rate: float
    limit: int | None
    teacher: Path | None
    keep: bool
    markdown: bool
    device: Literal["cpu", "gpu"]
    threads: int


def gaze(screen: Screen, settings: PrepareSettings, run: RunSettings, asked: Asked) -> None:
    """Judge models beside the controls, and show the tables or print the document."""
    from rich.text import Text

    from vsal.evaluate.saliency.arms import BLEND, PRIOR
    from vsal.evaluate.saliency.kept import Kept, default_folder
    from vsal.evaluate.saliency.markdown import markdown_of
    from vsal.evaluate.saliency.protocol import document_of, judge_gaze
    from vsal.evaluate.saliency.sets.gaze import open_gaze_clips
    from vsal.evaluate.saliency.status_quo import TEACHER_FILE, status_quo

    unknown = sorted(set(asked.aggregators) - set(AGGREGATORS))
    if unknown:
        raise SettingsError(f"--aggregator is one of {', '.join(AGGREGATORS)}, not {', '.join(unknown)}")
    folder = asked.dataset.partition(":")[2]
    clips = open_gaze_clips(folder)
    if asked.limit is not None and asked.limit < len(clips):
        clips = [clips[(2 * i + 1) * len(clips) // (2 * asked.limit)] for i in range(asked.limit)]
    beside = Path(folder).resolve().parent / TEACHER_FILE
    if asked.teacher is None and not beside.is_file():
        screen.note(f"The untrained blend is left out: there is no {beside} (--gaze-teacher FILE)")
    arms = status_quo(asked.teacher or (beside if beside.is_file() else None))
    controls = {(arm.identity, arm.aggregator) for arm in arms}
    arms += [arm for arm in _arms(asked, settings, run) if (arm.identity, arm.aggregator) not in controls]
    with screen.log.status("reading") as status:
        table = judge_gaze(
            asked.dataset,
            clips,
            arms,
            settings,
            Kept(default_folder() if asked.keep else None),
            judge_rate_hz=asked.judge_rate,
            on_clip=lambda done, total: status.update(f"{done} of {total} clips"),
        )
    if not table.moments:
        raise SettingsError(f"nobody with an odd number looks at any clip of {asked.dataset}: the odd observers score")
    document = document_of(table, (PRIOR, BLEND))
    document["models"] = {arm.model: arm.identity for arm in arms}
    document["settings"] = {**settings.shaping(), "judge_rate": asked.judge_rate}
    screen.document(document)
    if asked.markdown:
        screen.show(Text(markdown_of(document) + "\n"), _caption(table, document))
    else:
        screen.show(_means(document), _caption(table, document))
        screen.show(_clips(document), "NSS of each clip, and in brackets its share of the observers'")


def _arms(asked: Asked, settings: PrepareSettings, run: RunSettings) -> list[Arm]:
    from vsal.evaluate.saliency.status_quo import model_arm, own_aggregator
    from vsal.saliency import SaliencySession, load_model

    arms = []
    for name in dict.fromkeys(asked.models):
        model = load_model(name, accept_licence=run.accept_licence)
        session = SaliencySession(model.data, device=asked.device, threads=asked.threads)
        for aggregator in dict.fromkeys(asked.aggregators or [own_aggregator(session, settings.aggregator)]):
            if aggregator != "learned" or session.input.gives_gate:
                arms.append(model_arm(model, aggregator, asked.device, asked.threads))
    if asked.models and not arms:
        raise SettingsError("--aggregator learned needs the gate that models of kind video give: use another")
    return arms


def _means(document: dict[str, Any]) -> Table:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from vsal.evaluate.saliency.markdown import COLUMNS, ahead, figure, interval_of

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("map", *COLUMNS.values(), "NSS 95 %", "ahead of prior", "of blend", "below prior in"):
        table.add_column(column, justify="left" if column in ("map", "below prior in") else "right")
    for row in document["rows"]:
        table.add_row(
            escape(" ".join(filter(None, (row["model"], row["aggregator"])))),
            *(figure(name, row[name]) for name in COLUMNS),
            interval_of(row),
            *(escape(ahead(row["ahead_of"].get(other))) for other in ("fixed prior", "untrained blend")),
            escape(", ".join(row["groups_below_prior"])),
        )
    return table


def _clips(document: dict[str, Any]) -> Table:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from vsal.evaluate.saliency.markdown import of_observers

    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    shown.add_column("map")
    for clip in document["by_clip"]:
        shown.add_column(escape(clip), justify="right")
    for row in document["rows"]:
        name = " ".join(filter(None, (row["model"], row["aggregator"])))
        found = [clip["rows"] for clip in document["by_clip"].values()]
        shown.add_row(escape(name), *(of_observers(of[name]["nss"], of["observers"]["nss"]) for of in found))
    return shown


def _caption(table: GazeTable, document: dict[str, Any]) -> str:
    groups = len(set(table.groups.values()))
    return (
        f"{len(table.groups)} clips in {groups} groups, {table.moments} moments judged; fixed prior fitted on "
        f"{document['prior']['source']}; odd observers score, even ones are the row `observers`; rate is foretold, not "
        "measured"
    )
