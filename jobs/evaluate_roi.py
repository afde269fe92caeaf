"""`vsal evaluate roi` as a Ray job: the same options, on the cluster that runs the job.

ray job submit --working-dir . -- python -m jobs.evaluate_roi s3://bucket/titles.csv --weights none --dest s3://bucket/e
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from jobs.arguments import job_arguments
from vsal.cli import main


def arguments(given: Sequence[str]) -> list[str]:
    """The command line of `vsal` for that of the job."""
    return ["evaluate", *job_arguments("roi", given)]


if __name__ == "__main__":
    main(arguments(sys.argv[1:]))
