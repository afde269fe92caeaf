"""The command lines of vsal that stand in manifests, scripts and guides are such as vsal takes."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from tests.cluster.manifests import KINDS, KUBERAY, PLACES, REPO, ray_document
from vsal.cli.app import build

JOBS = {"prepare_roi": "prepare", "encode_roi": "encode"}
TEXTS = [
    REPO / "cluster" / "slurm" / "vsal.sbatch",
    REPO / "docs" / "operations.md",
    REPO / "docs" / "cluster.md",
    REPO / "README.md",
]


# Typer has a click of its own.
COMMANDS: dict[str, Any] = typer.main.get_command(build()).commands  # type: ignore[attr-defined]


def take(words: list[str]) -> None:
    """Parses the words of a verb as vsal would, and runs nothing.

    Raises:
        Exception: vsal would refuse them.
    """
    verb, *rest = words
    COMMANDS[verb].make_context(verb, rest)


def job_lines(text: str) -> Iterator[list[str]]:
    """The jobs of a text as words of vsal: `python -m jobs.X ...`, or the script's `vsal.sbatch X ...`."""
    joined = re.sub(r"\\\n\s*", " ", text)
    for job, rest in re.findall(r"(?:-m jobs\.|vsal\.sbatch )(prepare_roi|encode_roi)((?: +[^\s`\"|;&]+)+)", joined):
        yield [JOBS[job], *shlex.split(rest)]


def verb_lines(text: str) -> Iterator[list[str]]:
    """Command lines of vsal itself, at the beginning of a line of code."""
    joined = re.sub(r"\\\n\s*", " ", text)
    for block in re.findall(r"^```\w*\n(.*?)^```", joined, re.S | re.M):
        for line in re.findall(r"^(?:vsal) ([^#\n|]+)", block, re.M):
            yield shlex.split(line)


def test_jobs_of_the_manifests_are_such_as_vsal_takes() -> None:
    entrypoints = [ray_document("rayjob", place)["spec"]["entrypoint"] for place in PLACES]
    lines = [words for text in entrypoints for words in job_lines(text)]
    assert len(lines) == len(entrypoints)
    for words in lines:
        take(words)


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_command_lines_of_a_text_are_such_as_vsal_takes(path: Path) -> None:
    lines = [*job_lines(path.read_text()), *verb_lines(path.read_text())]
    assert lines
    for words in lines:
        if words != ["--help"] and "X" not in words:
            take(words)


def test_a_command_line_that_vsal_would_refuse_is_seen() -> None:
    (line,) = job_lines("python -m jobs.prepare_roi c --out o --max-faild 2")
    with pytest.raises(Exception, match="--max-faild"):
        take(line)


def test_files_of_the_guide_are_there() -> None:
    for kind in KINDS:
        for place in PLACES:
            assert (KUBERAY / f"{kind}-{place}.yaml").is_file()
    for page in ("operations.md", "cluster.md"):
        for name in re.findall(r"\bcluster/[\w./-]+\.(?:sh|yaml|sbatch|json)\b", (REPO / "docs" / page).read_text()):
            assert (REPO / name.replace("PLACE", "eks")).is_file(), name


OPERATIONS = (REPO / "docs" / "operations.md").read_text()
PLACEHOLDER = re.compile(r"REGISTRY|VIDEOS_BUCKET|RESULTS_BUCKET|MINIO_ENDPOINT|AWS_REGION|GCP_REGION|GCP_PROJECT")


@pytest.mark.parametrize("place", ["Amazon EKS", "Google Kubernetes", "A Kubernetes cluster", "EC2", "Compute Engine"])
def test_four_commands_lead_to_a_running_job(place: str) -> None:
    section = re.search(rf"^## {place}.*?^```\n(.*?)^```", OPERATIONS, re.S | re.M)
    assert section
    lines = section[1].splitlines()
    assert len(lines) == 4
    assert lines[0].startswith("cluster/images.sh ")
    assert re.search(r"kubectl apply|ray job submit", lines[-1])


def test_the_guides_sed_leaves_no_word_to_be_replaced() -> None:
    """The commands themselves are run, up to the program that would reach a cloud."""
    commands = re.findall(r"\b(sed \"[^\"]+\" (cluster/[\w./-]+\.yaml))", OPERATIONS)
    assert {file for _, file in commands} == {
        "cluster/kuberay/eksctl.yaml",
        *(f"cluster/kuberay/rayjob-{place}.yaml" for place in PLACES),
        *(f"cluster/launcher/{cloud}.yaml" for cloud in ("aws", "gcp")),
    }
    values = {"REGISTRY": "r.test/team", "VIDEOS": "videos", "RESULTS": "roi", "REGION": "eu-west-1", "PROJECT": "p"}
    for command, file in commands:
        done = subprocess.run(
            ["bash", "-c", command], cwd=REPO, env=os.environ | values, capture_output=True, text=True, check=True
        )
        left = [line for line in done.stdout.splitlines() if PLACEHOLDER.search(line.partition("#")[0])]
        # AWS_REGION is the name of a variable, too.
        assert [line for line in left if "name: AWS_REGION" not in line] == [], file
