"""The gate: which maps, at which strength, pay in which encoder, by people's gaze and beside all controls.

    python -m benchmarks.evaluation --data ../shared/data --out evaluation [--stage check|choose|gaze|finalists|all]

Stages, each going on where it stopped, for points are kept by what made them:

- `check`: the first arms as tables of other clips have them: x264 fast, CRF 24, 29, 34 and 39, the first 5 s.
- `choose`: saliency metrics alone cut models, aggregators and intervals to at most eight arms. No encode.
- `gaze`: these and all controls on x264 at six rates, gaze clips, weighted PSNR.
- `finalists`: the two best and all controls on x265, SVT-AV1 (clips at least 832 wide), kvazaar and VP9, and on the
  DAVIS sequences under their true masks with VMAF.

Each stage writes STAGE.json and STAGE.md below --out. The rule by which a default follows, stated before any number: of
the arms whose plain PSNR costs at most 5 % and that are ahead of the best fixed prior and of another title's map with
intervals that leave out 0, on x264, the one that gains most under the density alone, unless another gains within its
interval and more under 0.1 + 0.9 density; where there is none, the default stays.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from vsal.catalog import read_catalog
from vsal.evaluate.roi.account import Account, GazeAccount, MaskAccount
from vsal.evaluate.roi.arms import Arm, parse_arm, status_quo, with_controls
from vsal.evaluate.roi.catalogue import evaluate_here, judged_titles
from vsal.evaluate.roi.document import document_of, markdown_of
from vsal.evaluate.roi.ladder import COARSE_WIDTH, CRFS, PRESETS, Judged, Ladder, Rates
from vsal.evaluate.roi.maps import write_manifest
from vsal.evaluate.roi.points import Metrics
from vsal.evaluate.roi.table import RoiTable, make_table
from vsal.evaluate.roi.verdict import judge
from vsal.evaluate.saliency.arms import Arm as SaliencyArm
from vsal.evaluate.saliency.groups import group_means
from vsal.evaluate.saliency.kept import Kept, default_folder
from vsal.evaluate.saliency.protocol import judge_gaze
from vsal.evaluate.saliency.sets.gaze import GazeClip, open_gaze_clips
from vsal.evaluate.saliency.status_quo import TEACHER_FILE, model_arm
from vsal.evaluate.saliency.status_quo import status_quo as saliency_status_quo
from vsal.manifest import maps_uri
from vsal.saliency import load_model
from vsal.settings import PrepareSettings
from vsal.video.probe import probe

CHECK_CRFS = (24.0, 29.0, 34.0, 39.0)
SECONDS = 5.0
OLD = "floor=0.2,limit=6"  # the mapping of the first tables
# Models under aggregators and intervals from which saliency metrics choose.
CHOICES = (
    "v2 ema:model=image_saliency_student_v2,aggregator=ema",
    "v2 smooth:model=image_saliency_student_v2,aggregator=smooth",
    "v2 mean:model=image_saliency_student_v2,aggregator=mean",
    "v2 ema 6 Hz:model=image_saliency_student_v2,aggregator=ema,rate=6,interval=0.1667",
    "v2 smooth 6 Hz:model=image_saliency_student_v2,aggregator=smooth,rate=6,interval=0.1667",
    "small v2 smooth:model=image_saliency_student_small_v2,aggregator=smooth",
    "small v2 ema:model=image_saliency_student_small_v2,aggregator=ema",
    "video v1:mode=video",
)
MOST_ARMS, FINALISTS = 8, 2
DAVIS_CRFS = (28.0, 31.0, 34.0, 37.0, 40.0, 43.0)  # its clips were coded at CRF 23 before


def main() -> None:
    """Run the stages that were asked for, and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with gaze_clips, davis_more and teachers")
    parser.add_argument("--out", type=Path, required=True, help="points, maps and tables; taken up where it stopped")
    parser.add_argument("--stage", choices=("check", "choose", "gaze", "finalists", "all"), default="all")
    parser.add_argument("--clips", nargs="*", help="these alone; else all, one of each group first")
    parser.add_argument("--report", action="store_true", help="encode nothing: the table of what is there")
    given = parser.parse_args()
    stages: dict[str, Callable[[argparse.Namespace], None]] = {
        "check": check, "choose": choose, "gaze": gaze, "finalists": finalists,
    }  # fmt: skip
    for name, stage in stages.items():
        if given.stage in (name, "all"):
            stage(given)


def check(given: argparse.Namespace) -> None:
    """The first arms, by the first mapping."""
    account = GazeAccount.open(str(given.data / "gaze_clips"))
    arms = [status_quo(), parse_arm(f"video student v1:mode=video,{OLD}"), *_blend(given)]
    arms.append(parse_arm(f"image student v2 ema:model=image_saliency_student_v2,{OLD}"))
    rates = (Rates("x264", CHECK_CRFS, "fast"),)
    ladder = Ladder(str(given.out), account, tuple(with_controls(arms, True)), rates, seconds=SECONDS)
    _stage(given, "check", ladder, _clips(given, account))


def choose(given: argparse.Namespace) -> list[Arm]:
    """At most eight arms, by NSS on the gaze clips; a second line is a clip's worth of scans, and no encode."""
    kept = given.out / "choose.json"
    if kept.is_file():
        return [parse_arm(text) for text in json.loads(kept.read_text())["chosen"]]
    clips, found = open_gaze_clips(str(given.data / "gaze_clips")), {}
    for text in CHOICES:
        found[text] = _nss(parse_arm(text), clips)
        print(f"{text}: NSS {found[text]:.3f}", flush=True)
    chosen = sorted(found, key=lambda text: -found[text])[:MOST_ARMS]
    given.out.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps({"nss": found, "chosen": chosen}, indent=1))
    return [parse_arm(text) for text in chosen]


def gaze(given: argparse.Namespace) -> RoiTable:
    """The chosen arms on x264."""
    account = GazeAccount.open(str(given.data / "gaze_clips"))
    arms = [status_quo(), *choose(given), *(parse_arm(f"plain, {text}") for text in _AQ)]
    rates = (Rates("x264", CRFS["x264"], PRESETS["x264"]),)
    ladder = Ladder(str(given.out), account, tuple(with_controls(arms, True)), rates, seconds=SECONDS)
    table = _stage(given, "gaze", ladder, _clips(given, account))
    print(f"By the rule: {default_by_rule(table) or 'the default stays'}.")
    return table


_AQ = tuple(f"aq-mode {mode}:kind=plain,x264.aq-mode={mode}" for mode in (2, 3))


def finalists(given: argparse.Namespace) -> None:
    """The two that gain most on x264, on the other encoders and on objects."""
    table = gaze(given)
    steered = [arm for arm in table.candidates if arm.kind == "model" and arm.name != status_quo().name]
    gains = {arm.name: found.mean for arm in steered if (found := table.of("x264", arm.name)) is not None}
    best = sorted(gains, key=lambda name: gains[name])[:FINALISTS]
    arms = [status_quo(), *(arm for arm in steered if arm.name in best)]
    account = GazeAccount.open(str(given.data / "gaze_clips"))
    rates = [Rates(codec, CRFS[codec], PRESETS.get(codec)) for codec in ("x265", "vp9", "kvazaar", "svtav1")]
    both, clips = tuple(with_controls(arms, True)), _clips(given, account)
    _stage(given, "x265-vp9", Ladder(str(given.out), account, both, tuple(rates[:2]), seconds=SECONDS), clips)
    wide = [clip for clip in clips if probe(clip.uri).width >= COARSE_WIDTH]
    _stage(given, "kvazaar-svtav1", Ladder(str(given.out), account, both, tuple(rates[2:]), seconds=SECONDS), wide)
    masks = MaskAccount.open(str(given.data / "davis_more"))
    objects = judged_titles(
        [t for t in read_catalog(str(given.data / "davis_more")) if t.title_id in masks.files], masks
    )
    on_objects = Ladder(
        str(given.out), masks, both, (Rates("x264", DAVIS_CRFS, "fast"),), Metrics(full=True, every=4), SECONDS
    )
    _stage(given, "davis", on_objects, objects)


def _stage(given: argparse.Namespace, name: str, ladder: Ladder, titles: Sequence[Judged]) -> RoiTable:
    """Encode what is missing, and write the table of all titles that are whole, after each of them."""
    rows: list[dict[str, object]] = []
    known = {title.title_id for title in titles} if not given.report else set()
    for title in titles:
        if given.report:
            known |= {title.title_id} if _is_there(ladder, title) else set()
        if title.title_id in known:
            rows += evaluate_here(ladder, [title], lambda title_id, why: print(name, title_id, why, flush=True))
            _write(given, name, ladder, rows)
    print((given.out / f"{name}.md").read_text() if rows else f"{name}: nothing is there yet")
    return make_table((ladder.account.name, ladder.account.says), ladder.arms, rows)


def _write(given: argparse.Namespace, name: str, ladder: Ladder, rows: Sequence[dict[str, object]]) -> None:
    # The name of the account's folder is this machine's.
    account = f"{ladder.account.name.partition(':')[0]}:{Path(ladder.account.name.partition(':')[2]).name}"
    table = make_table((account, ladder.account.says), ladder.arms, list(rows))
    (given.out / f"{name}.json").write_text(json.dumps(document_of(table), indent=1))
    (given.out / f"{name}.md").write_text(markdown_of(table))


def _is_there(ladder: Ladder, title: Judged) -> bool:
    return (Path(ladder.dest) / "titles" / f"{title.title_id}.parquet").is_file()


def _clips(given: argparse.Namespace, account: Account) -> list[Judged]:
    """The cheapest of each group first, so that a table of all groups is there early."""
    titles = read_catalog(str(given.data / "gaze_clips"))
    if given.clips:
        titles = [title for title in titles if title.title_id in given.clips]
    judged = sorted(judged_titles(titles, account), key=lambda title: _cost(title.uri))
    first = list({title.group: title for title in reversed(judged)}.values())[::-1]
    return [*first, *(title for title in judged if title not in first)]


def _cost(uri: str) -> float:
    """Of a second of a clip."""
    info = probe(uri)
    return float(info.width * info.height * (info.fps or 25))


def _blend(given: argparse.Namespace) -> list[Arm]:
    """The untrained blend, whose maps are written as those of a manifest."""
    teacher = given.data / TEACHER_FILE
    if not teacher.is_file():
        return []
    blend, out = saliency_status_quo(teacher)[0], str(given.out / "saliency" / "blend")
    session = None
    for title in read_catalog(str(given.data / "gaze_clips")):
        if (given.clips and title.title_id not in given.clips) or Path(maps_uri(out, title.title_id)).is_file():
            continue
        session = session or blend.open()
        write_manifest(
            session, (blend.model, blend.identity), PrepareSettings(aggregator="ema"), title.uri, title.title_id, out
        )
    return [parse_arm(f"untrained blend:maps={out},{OLD}")]


def _nss(arm: Arm, clips: Sequence[GazeClip]) -> float:
    assert arm.source is not None
    settings = arm.source.settings
    judged: SaliencyArm = model_arm(load_model(arm.source.model), settings.aggregator)
    table = judge_gaze("gaze", clips, [judged], settings, Kept(default_folder()))
    values = table.rows[-1].of("nss")
    means = group_means(values, list(table.groups.values()))
    return sum(means.values()) / len(means)


def default_by_rule(table: RoiTable, codec: str = "x264") -> str | None:
    """The arm that the rule at the top gives; None where the default stays."""
    paying = [arm.name for arm in table.candidates if judge(table, codec, arm.name).answer == "pays"]
    found = {name: estimate for name in paying if (estimate := table.of(codec, name)) is not None}
    if not found:
        return None
    best = min(found, key=lambda name: found[name].mean)
    near = [name for name in found if found[name].mean <= found[best].high]
    even = {name: e.mean for name in near if (e := table.of(codec, name, "psnr_even")) is not None}
    return min(even, key=lambda name: even[name]) if even else best


if __name__ == "__main__":
    main()
