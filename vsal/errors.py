"""What can go wrong, in the words that a run reports."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why a title failed; the codes that manifests, summaries and `--json` carry."""

    SOURCE_NOT_FOUND = "source_not_found"
    UNREADABLE = "unreadable"
    NO_VIDEO = "no_video"
    DECODE_ERROR = "decode_error"
    UNSUPPORTED = "unsupported"
    MODEL_ERROR = "model_error"
    WORKER_DIED = "worker_died"
    TIMEOUT = "timeout"
    WRITE_FAILED = "write_failed"
    INTERRUPTED = "interrupted"  # the run was stopped, the title is not at fault
    INTERNAL = "internal"  # a fault of vsal's own


class VsalError(Exception):
    """Base of what vsal raises on purpose; its text names the numbers and the remedy."""


class SettingsError(VsalError):
    """A setting or an input that stops the run before any work is done."""


class SettingIgnored(SettingsError):
    """Under this setting an encoder would ignore the maps and report success; the text names the remedy."""


class RunStopped(VsalError):
    """A run cannot go on, through no fault of its titles: those left open are interrupted, and another run does them
    once what the text names has been mended. Exit code 75.
    """


class Terminated(KeyboardInterrupt):
    """SIGTERM: the machine is wanted for something else, and the run may go on elsewhere. Exit code 75."""


class TitleFailed(VsalError):
    """One title cannot be prepared or encoded; the run goes on with the others.

    Attributes:
        reason: the code under which the title is reported.
        detail: one sentence for the person who reads the report.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type[TitleFailed], tuple[Reason, str]]:
        # Exceptions travel between Ray workers by pickle, which calls the class with `args`.
        return TitleFailed, (self.reason, self.detail)
