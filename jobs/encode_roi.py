"""`vsal encode` as a Ray job: the same options, on the cluster that runs the job.

ray job submit --working-dir . -- python -m jobs.encode_roi s3://bucket/roi --codec x264 --crf 23 --dest s3://bucket/enc
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from jobs.arguments import job_arguments
from vsal.cli import main


def arguments(given: Sequence[str]) -> list[str]:
    """The command line of `vsal` for that of the job."""
    return job_arguments("encode", given)


if __name__ == "__main__":
    main(arguments(sys.argv[1:]))
