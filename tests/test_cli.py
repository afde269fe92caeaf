from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests import handmade
from tests.fixtures_s3 import S3Server
from vsal.cli import progress
from vsal.cli.app import build
from vsal.cli.options import SETTINGS
from vsal.distributed.outcomes import Outcome, Progress, Summary
from vsal.encode.settings import EncodeSettings
from vsal.encode.title import encode_title
from vsal.errors import Reason, SettingsError
from vsal.manifest.titles import TitleRecord, write_titles
from vsal.settings import PrepareSettings, RunSettings


class Result:
    def __init__(self, code: int, stdout: str, stderr: str) -> None:
        self.code, self.stdout, self.stderr = code, stdout, stderr

    @property
    def document(self) -> dict[str, Any]:
        return json.loads(self.stdout)


@pytest.fixture
def vsal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: object) -> Result:
        with pytest.raises(SystemExit) as ended:
            build()(args=[str(argument) for argument in arguments], prog_name="vsal")
        captured = capsys.readouterr()
        return Result(int(ended.value.code or 0), captured.out, captured.err)

    return call


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return handmade.write_clip(tmp_path / "clip.mp4")


@pytest.fixture
def out(tmp_path: Path, clip: Path) -> Path:
    handmade.write_manifest(tmp_path / "out", "clip", clip)
    return tmp_path / "out"


def summary(*outcomes: Outcome, max_failed: int = 0) -> Summary:
    return Summary("r1", ("out", "out"), outcomes, 12.0, 2.0, max_failed, totals=("shots", "maps", "decode_errors"))


DONE = Outcome("a", "a.mp4", "done", frames=240, duration_s=10.0, figures={"shots": 4, "maps": 30})
SKIPPED = Outcome("b", "b.mp4", "skipped")
FAILED = Outcome("[c]", "c.mp4", "failed", reason=Reason.NO_VIDEO, detail="it has no video stream", attempts=1)


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """In the place of the driver: what it was asked, and what it answers."""
    from vsal.distributed import prepare

    seen: dict[str, Any] = {"summary": summary(DONE)}

    def prepare_catalogue(titles: Any, out: str, settings: Any, run: Any, **rest: Any) -> Summary:
        seen.update(titles=titles, out=out, settings=settings, run=run, address=rest["address"])
        print("a library prints")
        if "raises" in seen:
            raise seen["raises"]
        return seen["summary"]

    monkeypatch.setattr(prepare, "prepare_catalogue", prepare_catalogue)
    return seen


def test_every_setting_is_an_option_with_help() -> None:
    fields = set(PrepareSettings.model_fields) | set(RunSettings.model_fields)
    assert fields == set(SETTINGS)
    assert all(text.endswith((".", "]")) and panel for panel, text in SETTINGS.values())


def test_options_reach_the_driver_and_the_rest_keeps_its_default(
    vsal: Callable[..., Result], driver: dict[str, Any], clip: Path
) -> None:
    result = vsal(
        "prepare", clip, "--out", "o", "--map-interval", "shot", "--sample-rate", "6", "--exact-decode",
        "--qp-mapping", "linear", "--max-failed", "2", "--force", "--address", "auto", "--device", "cpu",
    )  # fmt: skip
    assert result.code == 0, result.stderr
    wanted = {"map_interval": "shot", "sample_rate": 6.0, "exact_decode": True, "qp_mapping": "linear"}
    assert driver["settings"] == PrepareSettings(**wanted)
    assert driver["run"] == RunSettings(max_failed=2, force=True, device="cpu")
    assert (driver["out"], driver["address"]) == ("o", "auto")
    assert [title.title_id for title in driver["titles"]] == ["clip"]
    assert vsal("prepare", clip, "--out", "o", "--map-interval", "0.5").code == 0
    assert driver["settings"] == PrepareSettings(map_interval=0.5)
    assert driver["address"] is None


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--sample-rate", "0"], "--sample-rate"),
        (["--map-interval", "often"], "--map-interval"),
        (["--map-interval", "0.01"], "--sample-rate 100"),
        (["--aggregator", "median"], "--aggregator"),
        (["--aggregator", "smooth", "--smooth-s", "3"], "--smooth-s: Input should be less than or equal to 2"),
        (["--shot-detector", "transnetv2"], "--shot-model"),
        (["--qp-limit", "40"], "--qp-limit"),
        (["--attempts", "0"], "--attempts"),
    ],
)
def test_a_bad_setting_ends_with_2_and_names_its_option(
    vsal: Callable[..., Result], driver: dict[str, Any], clip: Path, options: list[str], named: str
) -> None:
    result = vsal("prepare", clip, "--out", "o", *options)
    assert result.code == 2
    assert named in result.stderr
    assert "Traceback" not in result.stderr
    assert "settings" not in driver


def test_json_is_one_document_whatever_libraries_print(
    vsal: Callable[..., Result], driver: dict[str, Any], clip: Path
) -> None:
    driver["summary"] = summary(DONE, SKIPPED, FAILED)
    result = vsal("prepare", clip, "--out", "o", "--json")
    assert result.code == 1
    assert result.document["titles"] == {"done": 1, "skipped": 1, "failed": 1}
    assert result.document["failed"][0]["reason"] == "no_video"
    assert "a library prints" in result.stderr


def test_an_error_under_json_is_a_document_too(vsal: Callable[..., Result], driver: dict[str, Any], clip: Path) -> None:
    driver["raises"] = SettingsError("no [GPU] here: install vsal[cuda]")
    result = vsal("prepare", clip, "--out", "o", "--json")
    assert result.code == 2
    assert result.document == {"error": {"kind": "settings", "message": "no [GPU] here: install vsal[cuda]"}}
    assert "vsal[cuda]" in result.stderr  # not taken for markup


def test_a_surprise_ends_with_1_and_a_trace_only_under_debug(
    vsal: Callable[..., Result], driver: dict[str, Any], clip: Path
) -> None:
    driver["raises"] = ZeroDivisionError("oh")
    result = vsal("prepare", clip, "--out", "o")
    assert (result.code, "Traceback" in result.stderr, "ZeroDivisionError: oh" in result.stderr) == (1, False, True)
    result = vsal("prepare", clip, "--out", "o", "--debug")
    assert (result.code, "Traceback" in result.stderr) == (1, True)


def test_an_interrupted_run_says_how_to_go_on(vsal: Callable[..., Result], driver: dict[str, Any], clip: Path) -> None:
    driver["raises"] = KeyboardInterrupt()
    result = vsal("prepare", clip, "--out", "o")
    assert result.code == 130
    assert "same command goes on" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_second_run_says_that_there_was_nothing_to_do(
    vsal: Callable[..., Result], driver: dict[str, Any], clip: Path
) -> None:
    driver["summary"] = summary(SKIPPED)
    result = vsal("prepare", clip, "--out", "o")
    assert result.code == 0
    assert "Nothing to do" in result.stdout
    assert "--force" in result.stdout


def test_failures_are_listed_with_their_reason(vsal: Callable[..., Result], driver: dict[str, Any], clip: Path) -> None:
    driver["summary"] = summary(DONE, FAILED, max_failed=1)
    result = vsal("prepare", clip, "--out", "o")
    assert result.code == 0
    assert "[c]  no_video: it has no video stream" in result.stdout
    assert "--max-failed 1" in result.stdout


def test_an_empty_catalogue_is_an_error_before_any_work(
    vsal: Callable[..., Result], driver: dict[str, Any], tmp_path: Path
) -> None:
    result = vsal("prepare", tmp_path / "nothing-here", "--out", "o")
    assert result.code == 2
    assert "address" not in driver


def state(**changes: Any) -> Progress:
    values: dict[str, Any] = {
        "titles": 10, "done": 3, "skipped": 1, "failed": 0, "in_flight": 2,
        "frames": 5000, "video_s": 200.0, "elapsed_s": 10.0, "eta_s": 75.0,
    }  # fmt: skip
    return Progress(**values | changes)


def test_plain_progress_is_a_line_in_five_seconds_and_one_a_failed_title() -> None:
    now = [0.0]
    written = io.StringIO()
    report = progress.plain(Console(file=written, width=200), clock=lambda: now[0])
    for tick in range(101):
        now[0] = tick * 0.1
        report(state())
    assert len(written.getvalue().splitlines()) == 2
    assert written.getvalue().splitlines()[0] == (
        "4 of 10 titles, 500 frames/s, 20.0 x real time, 1 already done, 1 min 15 s left"
    )
    report(state(failed=1, finished=FAILED))
    assert written.getvalue().splitlines()[-1] == "failed  [c]  no_video: it has no video stream"


def test_live_progress_draws_on_a_terminal() -> None:
    written = io.StringIO()
    console = Console(file=written, width=160, force_terminal=True)
    with progress.display(console) as report:
        report(state(failed=1, finished=FAILED))
    assert "20.0 x real time" in written.getvalue()
    assert "no_video" in written.getvalue()


def test_plan_says_what_would_be_done(vsal: Callable[..., Result], tmp_path: Path, out: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    catalogue = tmp_path / "list.txt"
    catalogue.write_text(f"{tmp_path}/clip.mp4\n{tmp_path}/text.mp4\n{tmp_path}/gone.mp4\n")
    result = vsal("plan", catalogue, "--json", "--max-failed", "2")
    assert result.code == 0, result.stderr
    assert result.document["totals"]["to_do"] == 1
    assert result.document["totals"]["frames"] == 72
    assert (result.document["saliency_mode"], result.document["aggregator"]) == ("image", "ema")
    assert [item["failed"] and item["failed"]["reason"] for item in result.document["titles"]] == [
        None,
        "unreadable",
        "source_not_found",
    ]
    shown = vsal("plan", catalogue, "--map-interval", "shot")
    assert shown.code == 1
    assert "saliency mode image: model image_saliency_student_v2, aggregator mean" in shown.stdout
    assert "source_not_found" in shown.stdout


def test_inspect_sums_up_and_draws(vsal: Callable[..., Result], out: Path, tmp_path: Path) -> None:
    result = vsal("inspect", out, "--json")
    assert result.code == 0, result.stderr
    (title,) = result.document["titles"]
    assert (title["shots"], title["maps"], title["frames"], title["qp_min"]) == (3, 9, 72, -8)
    assert 0.05 < title["mean_saliency"] < 0.15
    assert (title["saliency_mode"], title["model"], title["aggregator"]) == ("image", "by_hand", "ema")
    shown = vsal("inspect", out).stdout
    assert "clip" in shown
    assert "saliency mode image: model by_hand, aggregator ema" in shown
    result = vsal("inspect", out, "--title", "clip", "--png", tmp_path / "png", "--shot", 1)
    assert result.code == 0, result.stderr
    assert [path.name for path in (tmp_path / "png").iterdir()] == ["shot_0001.png"]


@pytest.fixture
def two_titles(out: Path, clip: Path, tmp_path: Path) -> Path:
    """`clip` is whole; the manifest file of `broken`, which comes before it, is not."""
    handmade.write_manifest(out, "broken", clip)
    encode_title(str(out), "clip", EncodeSettings("x264", preset="veryfast"), str(tmp_path / "encoded"))
    encode_title(str(out), "broken", EncodeSettings("x264", preset="veryfast"), str(tmp_path / "encoded"))
    file = out / "maps" / "broken.parquet"
    file.write_bytes(file.read_bytes()[:-100])
    return out


@pytest.mark.parametrize("summed_up", [True, False])
def test_a_damaged_title_is_told_by_inspect_and_the_others_shown(
    vsal: Callable[..., Result], two_titles: Path, summed_up: bool
) -> None:
    if summed_up:
        records = [TitleRecord(name, "clip.mp4", "done", path=f"maps/{name}.parquet") for name in ("broken", "clip")]
        write_titles(str(two_titles), records)
    result = vsal("inspect", two_titles, "--json")
    assert result.code == 1
    broken, clip = result.document["titles"]
    assert "not a whole Parquet file" in broken["problem"]
    assert clip["mean_saliency"] > 0
    shown = vsal("inspect", two_titles)
    assert shown.code == 1
    assert "not a whole Parquet file" in shown.stdout
    assert "clip" in shown.stdout


def test_a_damaged_title_is_told_by_export_and_the_others_written(
    vsal: Callable[..., Result], two_titles: Path, tmp_path: Path
) -> None:
    result = vsal("export", two_titles, "--format", "csv", "--dest", tmp_path / "csv", "--json")
    assert result.code == 1
    assert [Path(file).name for file in result.document["files"]] == ["clip.csv"]
    assert result.document["failed"][0]["title_id"] == "broken"
    assert "not a whole Parquet file" in vsal("export", two_titles, "--format", "csv", "--dest", tmp_path).stdout


def test_a_title_that_cannot_be_looked_at_is_told_by_verify_and_the_others_proved(
    vsal: Callable[..., Result], two_titles: Path, tmp_path: Path
) -> None:
    (tmp_path / "encoded" / "cut.encode.json").write_text("{")
    result = vsal("verify", two_titles, "--encoded", tmp_path / "encoded", "--json")
    assert result.code == 1
    verdicts = {title["title_id"]: title for title in result.document["titles"]}
    assert "not a whole Parquet file" in verdicts["broken"]["detail"]
    assert "no record of an encode" in verdicts["cut"]["detail"]
    assert verdicts["broken"]["verdict"] == verdicts["cut"]["verdict"] == "failed"
    assert verdicts["clip"]["shots"], "the title after the damaged ones was not looked at"
    shown = vsal("verify", two_titles, "--encoded", tmp_path / "encoded").stdout
    assert "failed  broken" in shown
    assert (tmp_path / "encoded" / "clip.proof.png").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--title", "nobody"], "no title 'nobody'"), (["--shot", "1"], "--title")],
)
def test_inspect_explains_what_it_cannot_do(
    vsal: Callable[..., Result], out: Path, arguments: list[str], said: str
) -> None:
    result = vsal("inspect", out, *arguments)
    assert result.code == 2
    assert said in result.stderr


def test_a_place_without_a_manifest_is_one_clear_message(vsal: Callable[..., Result], tmp_path: Path) -> None:
    for verb in ("inspect", "validate"):
        result = vsal(verb, tmp_path / "none")
        assert result.code in (1, 2)
        assert str(tmp_path / "none") in result.stderr
        assert "Traceback" not in result.stderr


def test_validate_ends_with_1_for_a_damaged_file(vsal: Callable[..., Result], out: Path) -> None:
    assert vsal("validate", out, "--json").document["valid"] is True
    file = out / "maps" / "clip.parquet"
    file.write_bytes(file.read_bytes()[:-100])
    result = vsal("validate", out)
    assert result.code == 1
    assert "clip" in result.stdout


def test_remap_changes_offsets_and_validates(vsal: Callable[..., Result], out: Path, tmp_path: Path) -> None:
    result = vsal("remap", out, "--out", tmp_path / "softer", "--qp-limit", "2", "--json")
    assert result.code == 0, result.stderr
    assert result.document["titles"] == {"done": 1, "skipped": 0, "failed": 0}
    (title,) = vsal("inspect", tmp_path / "softer", "--json").document["titles"]
    assert title["qp_min"] == -2
    assert vsal("validate", tmp_path / "softer").code == 0
    assert vsal("remap", out, "--out", out).code == 2


def test_a_manifest_in_a_bucket_is_planned_inspected_drawn_remapped_and_validated(
    vsal: Callable[..., Result], clip: Path, tmp_path: Path, s3_server: S3Server
) -> None:
    bucket = s3_server.bucket()
    s3_server.put(f"{bucket}/films/clip.mp4", clip.read_bytes())
    handmade.write_manifest(f"{bucket}/roi", "clip", f"{bucket}/films/clip.mp4")
    planned = vsal("plan", f"{bucket}/films", "--json").document
    assert planned["totals"]["frames"] == 72
    drawn = vsal("inspect", f"{bucket}/roi", "--png", tmp_path / "png", "--json")
    assert drawn.code == 0, drawn.stderr
    assert len(drawn.document["pictures"]) == 4
    assert vsal("remap", f"{bucket}/roi", "--out", f"{bucket}/soft", "--qp-limit", 3).code == 0
    assert vsal("validate", f"{bucket}/soft").code == 0


def test_models_are_listed_with_licence_and_hash(vsal: Callable[..., Result]) -> None:
    document = vsal("models", "list", "--json").document
    default = next(model for model in document["models"] if model["name"] == document["default"])
    assert default["licence"]
    assert len(default["sha256"]) == 64
    assert document["default"] in vsal("models", "list").stdout


def test_every_verb_has_json_and_debug(vsal: Callable[..., Result]) -> None:
    for verb in ("prepare", "plan", "inspect", "remap", "demo", "validate", "models list"):
        shown = vsal(*verb.split(), "--help").stdout
        assert "--json" in shown, verb
        assert "--debug" in shown, verb


def test_help_loads_no_heavy_library() -> None:
    code = (
        "import sys\n"
        "from vsal.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'ray', 'av', 'cv2', 'onnxruntime', 'numpy', 'pyarrow', 'PIL'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_a_terminated_process_leaves_by_the_door_of_an_interrupt(tmp_path: Path) -> None:
    code = (
        "import time\n"
        "from vsal.cli import app, options\n"
        "import vsal.cli.verbs.validate as verb\n"
        "def wait(screen, out):\n    print('waiting', flush=True)\n    time.sleep(60)\n"
        "wait.__annotations__ = {'screen': object, 'out': str}\n"
        "verb.validate = options.verb()(wait)\n"
        "app.main(['validate', 'x'])\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    start = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=30)
    assert time.monotonic() - start < 10
    assert process.returncode == 75
    assert "same command goes on" in stderr


def test_what_child_processes_print_stays_off_the_document() -> None:
    code = (
        "import os\n"
        "from vsal.cli import app, options\n"
        "import vsal.cli.verbs.validate as verb\n"
        "def noisy(screen, out):\n    os.system('echo from a child')\n    screen.document({'out': out})\n"
        "noisy.__annotations__ = {'screen': object, 'out': str}\n"
        "verb.validate = options.verb()(noisy)\n"
        "app.main(['validate', 'x', '--json'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert json.loads(done.stdout) == {"out": "x"}
    assert "from a child" in done.stderr
