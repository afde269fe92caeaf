"""What a job adds to the command line of `vsal`."""

from __future__ import annotations

from collections.abc import Sequence


def job_arguments(verb: str, given: Sequence[str]) -> list[str]:
    """The command line of a verb for that of its job, with two defaults of its own.

    It joins the cluster that runs the job. And any share of its titles may fail: whoever runs jobs repeats one that has
    failed, and titles that are at fault themselves would only fail again.

    Args:
        verb: of `vsal`.
        given: the options of the job.
    """
    defaults = {"--address": "auto", "--max-failed": "100%"}
    names = {word.split("=", 1)[0] for word in given}
    return [verb, *given, *(word for name, value in defaults.items() if name not in names for word in (name, value))]
