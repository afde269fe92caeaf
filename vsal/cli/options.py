"""Every option that is a setting, once: its help, its units, and how a verb gets them."""

from __future__ import annotations

import functools
import inspect
import signal
import traceback
from collections.abc import Callable
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from vsal.cli.screen import Screen
from vsal.errors import RunStopped, SettingsError, Terminated, VsalError
from vsal.settings import PrepareSettings, RunSettings, checked

RUN_AGAIN = 75  # EX_TEMPFAIL of sysexits.h: the same command may well succeed, here or elsewhere

Group = type[PrepareSettings] | type[RunSettings]

MODEL, SHOTS, MAPS, QP = "Model", "Decoding and shots", "Maps over time", "QP offsets"
RUN, MACHINE = "The run", "Machines and memory"

# Field of PrepareSettings or RunSettings -> (panel, help). The text says units; the default is added.
SETTINGS: dict[str, tuple[str, str]] = {
    "saliency_mode": (MODEL, "image: models that see colour. video: those that see motion too, with a memory."),
    "model": (MODEL, "Registered name, or path or URI, of a saliency model (ONNX) of that mode."),
    "accept_licence": (MODEL, "Use a model whose licence forbids commercial use."),
    "sample_rate": (MAPS, "Frames a second of the title's time that the model sees."),
    "map_interval": (MAPS, "Seconds that one map covers, or 'shot' for one map a shot."),
    "samples_per_map": (MAPS, "Samples of a shot, evenly spaced, that make its map under --map-interval shot."),
    "aggregator": (MAPS, "How samples become a map; in mode video learned, with --map-interval shot mean."),
    "ema_alpha": (MAPS, "Weight of a new sample in the moving average, 0 to 1; overrides --ema-half-life-s."),
    "ema_half_life_s": (MAPS, "Seconds after which the moving average has forgotten half."),
    "smooth_s": (MAPS, "Seconds to either side of a map's middle that --aggregator smooth averages over, up to 2."),
    "regions": (MAPS, "File of regions that somebody marked, Parquet or JSON, merged with the maps."),
    "shot_detector": (SHOTS, "Rule that finds the cuts."),
    "shot_model": (SHOTS, "TransNetV2 ONNX file, for --shot-detector transnetv2."),
    "min_shot_s": (SHOTS, "Shortest shot, in seconds."),
    "exact_decode": (SHOTS, "Run the decoder's loop filter too: slower, every pixel as a player shows it."),
    "qp_mapping": (QP, "rd: least saliency-weighted distortion at equal rate. linear: (1 - 2 saliency) x offset."),
    "qp_floor": (QP, "Weight of a block that nobody looks at, above 0 to 1; 1 turns ROI off (rd)."),
    "qp_limit": (QP, "Largest QP offset either way, in QP."),
    "qp_offset": (QP, "Strength of the linear mapping, in QP."),
    "device": (MACHINE, "Where the model runs; auto takes a GPU if the cluster has one. gpu never falls back."),
    "gpu_fraction": (MACHINE, "Share of one GPU for each saliency actor."),
    "saliency_actors": (MACHINE, "Saliency actors in the pool [default: by the size of the cluster]."),
    "saliency_threads": (MACHINE, "Threads of one saliency actor on a CPU [default: by the size of the machine]."),
    "segment_s": (MACHINE, "Seconds of video that one scan task decodes; cuts fall on keyframes."),
    "titles_in_flight": (MACHINE, "Titles that are open at a time [default: by the size of the cluster]."),
    "windows_in_flight": (MACHINE, "Windows of frames that one scan task may have under inference."),
    "object_store_mb": (MACHINE, "Ray's object store on a local start, in MB."),
    "attempts": (RUN, "Times that a step of a title is tried; what the infrastructure breaks is not counted."),
    "stall_s": (RUN, "Seconds that a step which has begun may make no progress: no frame, no byte."),
    "title_timeout_s": (RUN, "Seconds that a title may be worked on; waiting for a turn is no work. No default."),
    "grace_s": (
        RUN,
        "Seconds that open steps are given to end after SIGTERM or Ctrl-C; what is known is written at once.",
    ),
    "max_failed": (RUN, "Failed titles up to which the run still exits with 0: a number, or a share such as 2%."),
    "force": (RUN, "Do titles again whose manifest is already committed with these settings."),
    "retry_failed": (RUN, "Only titles that failed the last time."),
}


def verb(
    *groups: Group, only: frozenset[str] | None = None
) -> Callable[[Callable[..., int | None]], Callable[..., None]]:
    """Make a function a verb: settings as options, --json and --debug, errors as one message and an exit code.

    The function takes `screen: Screen`, its own parameters, and `settings: PrepareSettings` and `run: RunSettings` for
    the groups asked for. Where it takes `settings_file`, what that file says of prepare holds where no option does.
    What it returns is the exit code; None is 0.

    Args:
        groups: the settings whose fields become options.
        only: of their fields, those that become options; all if not given.
    """

    def decorate(function: Callable[..., int | None]) -> Callable[..., None]:
        own = dict(inspect.signature(function, eval_str=True).parameters)
        for injected in ("screen", "settings", "run"):
            own.pop(injected, None)
        fields = {group: [n for n in group.model_fields if only is None or n in only] for group in groups}
        options = [_option(name, group.model_fields[name]) for group in groups for name in fields[group]]

        @functools.wraps(function)
        def wrapper(**given: Any) -> None:
            screen = Screen(given.pop("json_output"))
            debug = given.pop("debug")
            typed = {name: given.pop(name) for names in fields.values() for name in names}

            def body() -> int | None:
                file = given.get("settings_file")
                for group, names in fields.items():
                    values = {n: _read(typed[n], group.model_fields[n]) for n in names if typed[n] is not None}
                    if file is not None and group is PrepareSettings:
                        from vsal.settings_file import read_settings

                        values = dict(read_settings(file).prepare) | values
                    given["settings" if group is PrepareSettings else "run"] = checked(group, values)
                return function(screen=screen, **given)

            with screen.guarded():
                code = _ended(body, screen, debug)
            raise typer.Exit(code)

        common = [_flag("json_output", "--json", "Print one JSON document to stdout; everything else goes to stderr.")]
        common.append(_flag("debug", "--debug", "Show the whole trace of an error."))
        parameters = [*own.values(), *options, *common]
        keyword_only = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters]
        # Typer reads a signature from these, and the help from the docstring, whose line breaks are the source's.
        wrapper.__signature__ = inspect.Signature(keyword_only)  # type: ignore[attr-defined]
        wrapper.__doc__ = "\n\n".join(" ".join(p.split()) for p in (function.__doc__ or "").split("\n\n"))
        wrapper.__annotations__ = {p.name: p.annotation for p in parameters}
        del wrapper.__wrapped__
        return wrapper

    return decorate


def _ended(body: Callable[[], int | None], screen: Screen, debug: bool) -> int:
    """The exit code of the verb."""
    try:
        return body() or 0
    except (KeyboardInterrupt, SystemExit) as stop:
        if debug:
            traceback.print_exc()
        # Ray turns SIGTERM into SystemExit.
        terminated = isinstance(stop, Terminated) or (isinstance(stop, SystemExit) and stop.code == signal.SIGTERM)
        screen.note("Stopped. What is committed stays; the same command goes on from there.")
        by = "SIGTERM" if terminated else "the user"
        screen.document({"error": {"kind": "interrupted", "message": f"stopped by {by}"}})
        return RUN_AGAIN if terminated else 130
    except typer.Exit:
        raise
    except Exception as error:
        if debug:
            traceback.print_exc()
        expected = isinstance(error, VsalError)
        kinds = {SettingsError: "settings", RunStopped: "stopped", VsalError: "failed", Exception: "unexpected"}
        kind = next(name for cls, name in kinds.items() if isinstance(error, cls))
        text = str(error) if expected else f"{type(error).__name__}: {error}"
        screen.error(text)
        if not expected and not debug:
            screen.note("This should not happen. --debug shows where it did.")
        screen.document({"error": {"kind": kind, "message": text}})
        return {"settings": 2, "stopped": RUN_AGAIN}.get(kind, 1)


def _option(name: str, field: FieldInfo) -> inspect.Parameter:
    panel, text = SETTINGS[name]
    default = field.default
    flag = "--" + name.replace("_", "-")
    words, numbers = _shape(field.annotation)
    text_too = words or str in numbers
    kind: Any = bool if bool in numbers else str if text_too else next(iter(numbers), str)
    if default is not None and kind is not bool:
        shown = round(default, 3) if isinstance(default, float) else default
        text = f"{text} [dim]\\[default: {shown}][/]"
    if words and not numbers:
        text = f"{text} [dim]\\[{'|'.join(words)}][/]"
    info = typer.Option(
        flag,
        help=text.replace(" [default: by", " \\[default: by"),
        rich_help_panel=panel,
        show_default=False,
    )
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, info]
    )


def _flag(name: str, flag: str, text: str) -> inspect.Parameter:
    annotation = Annotated[bool, typer.Option(flag, help=text)]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=annotation)


def _shape(annotation: Any) -> tuple[list[str], set[type]]:
    """The words and the plain types that a field takes."""
    if get_origin(annotation) is Literal:
        return [str(word) for word in get_args(annotation)], set()
    if get_origin(annotation) is Annotated:
        inner = get_args(annotation)[0]
        return ([], {str}) if inner is str else _shape(inner)
    if isinstance(annotation, type):
        return [], set() if annotation in (type(None), str) else {annotation}
    words: list[str] = []
    numbers: set[type] = set()
    for part in get_args(annotation):
        more, kinds = _shape(part)
        words += more
        numbers |= kinds
    return words, numbers


def _read(value: Any, field: FieldInfo) -> Any:
    """A number where a setting takes words as well as numbers (--map-interval 0.5)."""
    words, numbers = _shape(field.annotation)
    if isinstance(value, str) and words and numbers:
        try:
            return float(value)
        except ValueError:
            return value
    return value
