from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.evaluate import sets
from tests.evaluate.models import sees_red
from tests.saliency import foreign_graphs as theirs
from tests.saliency.conftest import build_model, build_step
from vsal.assembly.maps import MapBuilder, MapPolicy
from vsal.assembly.stitch import Sample, Stretch
from vsal.evaluate.saliency.items import Dataset, Item, Truth, picture_of, still
from vsal.evaluate.saliency.moments import on_clock, read_moments, still_size
from vsal.evaluate.saliency.sets import open_dataset
from vsal.evaluate.saliency.table import Evaluation, aggregated, evaluate
from vsal.roi.grid import block_means
from vsal.roi.qp import QpMapping
from vsal.saliency import Masks, SaliencySession
from vsal.saliency.foreign import Interface, wrap
from vsal.settings import PrepareSettings
from vsal.temporal import make_aggregator
from vsal.video.clock import SampleClock
from vsal.video.orientation import UPRIGHT

SETTINGS = PrepareSettings(sample_rate=24, map_interval=1 / 24)
Row = dict[tuple[str, str | None], dict[str, float | None]]


def table(result: Evaluation) -> Row:
    return {(row.model, row.aggregator): row.figures for row in result.rows}


def test_a_model_that_finds_the_subject_wins_against_every_baseline(tmp_path: Path) -> None:
    dataset = open_dataset(f"davis:{sets.davis(tmp_path)}")
    result = evaluate(dataset, [("red", sees_red())], ["mean", "ema"], SETTINGS, judge_rate_hz=24)
    rows = table(result)
    assert list(rows) == [("red", "mean"), ("red", "ema"), ("fixed prior", None), ("shuffled", None)]
    assert (result.items, result.frames, result.columns) == (2, 12, ["iou", "cc", "flicker"])
    assert rows["red", "mean"]["iou"] == pytest.approx(1.0)
    for name in (("fixed prior", None), ("shuffled", None)):
        assert rows[name]["iou"] < 0.8 * rows["red", "mean"]["iou"]
        assert rows[name]["flicker"] == 0
    assert set(result.by_item) == {"bear", "dog"}


def test_gaze_is_judged_by_gaze_metrics(tmp_path: Path) -> None:
    dataset = open_dataset(f"dhf1k:{sets.dhf1k(tmp_path, videos=False)}")
    rows = table(
        evaluate(dataset, [("red", sees_red())], ["mean"], PrepareSettings(sample_rate=30, map_interval=1 / 30))
    )
    figures = rows["red", "mean"]
    assert set(figures) == {"cc", "nss", "auc_judd", "sim", "kl", "flicker"}
    assert figures["nss"] > 1.5
    assert figures["auc_judd"] > 0.9
    assert figures["cc"] > rows["fixed prior", None]["cc"]


def test_a_photograph_is_one_sample_so_no_aggregator_is_named(tmp_path: Path) -> None:
    dataset = open_dataset(f"masks:{sets.photographs(tmp_path, 'images', 'masks')}")
    result = evaluate(dataset, [("red", sees_red())], ["mean", "ema", "max"], PrepareSettings())
    rows = table(result)
    assert list(rows) == [("red", None), ("fixed prior", None), ("shuffled", None)]
    assert result.columns == ["iou", "cc"]
    assert rows["red", None]["iou"] > 0.8  # blocks of 96x72, masks of 64x48


@pytest.mark.parametrize("aspect", [16 / 9, 4 / 3, 1.0, 2 / 3])
def test_a_picture_is_judged_on_its_own_aspect(aspect: float) -> None:
    """A look into a corner of a round cloud of looks counts as far across as down."""
    rgb = np.zeros((240, round(240 * aspect), 3), np.uint8)
    looks = Truth(fixations=np.array([[0.5, 0.5]], np.float32))
    item = still("p", lambda: picture_of(rgb), lambda: looks)
    moments = read_moments(item, "gaze", [sees_red().input], PrepareSettings(), 12.0)
    assert moments.density is not None
    rows, columns = moments.density.shape[1:]
    assert columns / rows == pytest.approx(aspect, rel=0.01)
    high = moments.density[0] > moments.density.max() / 2
    assert high.any(axis=0).sum() == pytest.approx(high.any(axis=1).sum(), abs=1)
    blocks = still_size(aspect)
    assert blocks[0] / blocks[1] == pytest.approx(aspect, rel=0.02)
    assert blocks[0] * blocks[1] / 256 == pytest.approx(96 * 72, rel=0.02)


def test_one_item_has_no_other_to_be_shuffled_with(tmp_path: Path) -> None:
    dataset = open_dataset(f"davis:{sets.davis(tmp_path, ('bear',))}")
    assert ("shuffled", None) not in table(evaluate(dataset, [("red", sees_red())], ["mean"], SETTINGS))


def test_a_limit_spreads_over_the_set(tmp_path: Path) -> None:
    dataset = open_dataset(f"masks:{sets.photographs(tmp_path, 'images', 'masks', 6)}")
    result = evaluate(dataset, [("red", sees_red())], ["mean"], PrepareSettings(), limit=2)
    assert list(result.by_item) == ["p1", "p4"]


def test_smoothing_lowers_flicker() -> None:
    dataset = open_dataset("synthetic:1")
    noisy = SaliencySession(wrap(theirs.image_model(), Interface("image", size=(128, 64))))
    settings = PrepareSettings(sample_rate=6, map_interval=1 / 6, ema_half_life_s=1.0)
    title = dataset.items[0]
    dataset = Dataset("a part", "mask", [Item("part", title.fps, lambda: islice(title.frames(), 60))])
    rows = table(evaluate(dataset, [("noise", noisy)], ["mean", "ema"], settings, judge_rate_hz=6))
    assert rows["noise", "ema"]["flicker"] < 0.7 * rows["noise", "mean"]["flicker"]


@pytest.mark.parametrize(
    "data",
    [
        wrap(theirs.unisal(), Interface("recurrent", output="log-density")),
        wrap(theirs.clip_model(4), Interface("clip")),
        build_model(kind="video"),
    ],
    ids=["recurrent", "clip", "video"],
)
def test_every_kind_of_model_can_be_compared(data: bytes, tmp_path: Path) -> None:
    dataset = open_dataset(f"davis:{sets.davis(tmp_path, ('bear',))}")
    session = SaliencySession(data)
    rows = table(evaluate(dataset, [("it", session)], ["mean", "learned"], SETTINGS))
    assert rows["it", "mean"]["iou"] is not None
    assert (("it", "learned") in rows) == session.input.gives_gate


def test_the_step_form_is_the_video_model_under_its_learned_memory() -> None:
    """At three samples a second, for which its gate is the share of a new one."""
    (title,) = open_dataset("synthetic:1").items
    dataset = Dataset("a part", "mask", [Item("part", title.fps, lambda: islice(title.frames(), 96))])
    assert len({frame.shot for frame in dataset.items[0].frames()}) > 1  # where both begin anew
    models = [("both", SaliencySession(build_model(kind="video"))), ("step", SaliencySession(build_step(pixels=36864)))]
    result = evaluate(dataset, models, ["mean", "learned"], PrepareSettings(sample_rate=3, map_interval=1 / 3))
    rows = table(result)
    assert rows["step", "mean"] == pytest.approx(rows["both", "learned"], abs=1e-4)
    assert rows["both", "mean"] != pytest.approx(rows["both", "learned"], abs=1e-3)
    assert result.left_out == [("step", "learned")]
    assert result.document()["left_out"] == [{"model": "step", "aggregator": "learned"}]


@pytest.mark.parametrize(
    ("fps", "rate"), [(24, 3), (24, 7), (25, 3), (30, 12), (29.97, 3), (10, 24), (24, 24), (24, 5)]
)
def test_samples_are_those_that_prepare_takes(fps: float, rate: float) -> None:
    clock = SampleClock(rate, 1 / Fraction(fps).limit_denominator(100_000))
    picked = {0}
    for index in range(1, 500):
        before, now = clock.pick(index - 1, index)
        picked |= ({index - 1} if before else set()) | ({index} if now else set())
    ours = {index for index in range(499) if on_clock(index, fps, rate)}
    assert ours == picked - {499}


@pytest.mark.parametrize("interval", [0.33, 1.0, "shot"])
def test_maps_are_those_that_prepare_writes(interval: Any) -> None:
    settings = PrepareSettings(sample_rate=6, map_interval=interval, samples_per_map=3)
    (title,) = open_dataset("synthetic:1").items
    item = Item("t", title.fps, lambda: islice(title.frames(), 72))
    wants = sees_red().input
    moments = read_moments(item, "mask", [wants], settings, 24.0)
    rng = np.random.default_rng(0)
    masks, gates = rng.random((2, len(moments.sample_keys), 24, 32)).astype(np.float32)
    shots = [frame.shot for frame in item.frames()]
    n, cuts = len(shots), [i for i in range(1, len(shots)) if shots[i] != shots[i - 1]]
    assert cuts
    sampled = [i for i in range(n) if on_clock(i, 24, 6)]
    samples = [Sample(i, moments.sample_motion[at], masks[at], gates[at]) for at, i in enumerate(sampled)]
    stretch = Stretch(0, np.arange(n), np.zeros(n), np.zeros(n, np.float32), [(0, 854, 480)], samples, None)
    for aggregator in ("mean", "ema", "max", "motion", "learned", "smooth"):
        ours = aggregated(Masks(masks, gates), moments, aggregator, settings)
        policy = MapPolicy(
            title_id="t",
            clock=SampleClock(6, Fraction(1, 24)),
            samples_per_span=settings.samples_per_span,
            samples_per_shot=settings.samples_per_map,
            aggregator=make_aggregator(aggregator, settings.alpha, settings.smooth_s),
            mapping=QpMapping("rd", 0.2, 6, 6),
            time_base=Fraction(1, 24),
            orientation=UPRIGHT,
        )
        builder = MapBuilder(policy)
        builder.push(stretch)
        checked = 0
        for row in builder.close(cuts, n):
            key = moments.judged_keys[row.frame_start]
            if row.samples and key in ours:
                levels = np.rint(block_means(ours[key], 854, 480).clip(0, 1) * 255)
                np.testing.assert_allclose(row.saliency, levels, atol=1)
                checked += 1
        assert checked == len(ours)


def test_the_verb_prints_the_table_of_models_and_aggregators(
    vsal: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    (tmp_path / "grey.onnx").write_bytes(build_model())
    sets.davis(tmp_path / "clips")
    asked = ("--dataset", f"davis:{tmp_path / 'clips'}", "--model", tmp_path / "grey.onnx")
    asked += ("--model", "image_saliency_student_v1", "--aggregator", "mean", "--aggregator", "ema")
    code, out, err = vsal("evaluate", "saliency", *asked, "--json")
    assert code == 0, err
    document = json.loads(out)
    assert [(row["model"], row["aggregator"]) for row in document["rows"]] == [
        ("grey", "mean"),
        ("grey", "ema"),
        ("image_saliency_student_v1", "mean"),
        ("image_saliency_student_v1", "ema"),
        ("fixed prior", None),
        ("shuffled", None),
    ]
    assert document["settings"]["sample_rate"] == 3
    assert len(document["models"]["grey"]) == 64
    code, out, err = vsal("evaluate", "saliency", *asked, "--aggregator", "learned")
    assert code == 0
    assert "there is none of: grey, image_saliency_student_v1" in err
    for shown in ("block IoU", "flicker", "fixed prior", "2 items"):
        assert shown in out


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--dataset", "salicon:x"), "KIND one of masks"),
        (("--dataset", "synthetic:1", "--aggregator", "median"), "--aggregator is one of mean"),
        (("--dataset", "synthetic:1", "--model", "unisal"), "no model is named 'unisal'"),
        (("--dataset", "synthetic:1", "--sample-rate", 1), "--sample-rate"),
        (("--dataset", "synthetic:1", "--aggregator", "learned"), "needs the gate"),
    ],
)
def test_what_cannot_be_evaluated_ends_with_2(
    vsal: Callable[..., tuple[int, str, str]], options: tuple[object, ...], says: str
) -> None:
    code, _, err = vsal("evaluate", "saliency", *options)
    assert code == 2
    assert says in err
