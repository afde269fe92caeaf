"""The Dockerfile, judged without an engine: a linter, what it copies, and its shell steps in a fresh folder."""

from __future__ import annotations

import fnmatch
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from dockerfile_parse import DockerfileParser

from tests.cluster.manifests import REPO
from tests.cluster.shims import program, shim

DOCKERFILE = REPO / "cluster" / "Dockerfile"
IGNORED = REPO / "cluster" / "Dockerfile.dockerignore"


def steps(instruction: str) -> list[str]:
    """The values of an instruction, in order."""
    parser = DockerfileParser(fileobj=DOCKERFILE.open("rb"))
    return [step["value"] for step in parser.structure if step["instruction"] == instruction]


def test_hadolint_finds_nothing() -> None:
    command = [program("hadolint"), "--failure-threshold", "warning", str(DOCKERFILE)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_stages_come_from_one_exact_tag_and_run_as_nobody_special() -> None:
    bases = [value.partition(" AS ") for value in steps("FROM")]
    assert [(base, name) for base, _, name in bases] == [
        ("python:${PYTHON_TAG}", "wheel"),
        ("python:${PYTHON_TAG}", "cpu"),
        ("cpu", "cuda"),
    ]
    (tag,) = (value for value in steps("ARG") if value.startswith("PYTHON_TAG="))
    assert re.fullmatch(r"PYTHON_TAG=3\.1[1-3]\.\d+-slim-\w+", tag), "no exact tag"
    # The last user of both targets is a number, as runAsNonRoot wants it.
    text = DOCKERFILE.read_text()
    for stage in text.split("\nFROM ")[2:]:
        assert re.findall(r"^USER (.*)$", stage, re.M)[-1] == "1000:1000"


def sent_to_the_engine() -> set[str]:
    """Files of the repository that the ignore file lets through: the last pattern that fits decides."""
    patterns = [line for line in IGNORED.read_text().splitlines() if line and not line.startswith("#")]
    listed = subprocess.run(["git", "ls-files"], cwd=REPO, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    sent = set()
    for name in filter(None, listed):
        parts = Path(name).parts
        prefixes = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
        kept = True
        for pattern in patterns:
            bare = pattern.removeprefix("!").removeprefix("**/")
            names = parts if pattern.removeprefix("!").startswith("**/") else prefixes
            if any(fnmatch.fnmatchcase(part, bare) for part in names):
                kept = pattern.startswith("!")
        if kept:
            sent.add(name)
    return sent


def test_everything_that_is_copied_is_sent_and_nothing_else() -> None:
    sent = sent_to_the_engine()
    copied = [word for value in steps("COPY") for word in value.split()[:-1]]
    for word in copied:
        assert any(name == word or name.startswith(word + "/") for name in sent), f"{word} is not sent"
    for name in sent:
        assert any(name == word or name.startswith(word + "/") for word in copied), f"{name} is sent for nothing"


def test_the_programs_that_kuberay_and_the_launcher_start_are_there() -> None:
    (packages,) = (value for value in steps("RUN") if "apt-get install" in value)
    # KubeRay's probes run wget; the hook of the head pkill; the launcher's head ssh and rsync.
    assert {"wget", "procps", "openssh-client", "rsync", "svt-av1"} <= set(packages.split())
    (launcher,) = (value for value in steps("RUN") if "[launcher]" in value)
    assert 'ray[default]==${RAY_VERSION}"' in launcher


def in_a_fresh_folder(command: str, folder: Path) -> str:
    """A shell step with its absolute paths below a folder and without what an engine would mount."""
    bare = re.sub(r"--mount=\S+\s*", "", command).replace("\\", " ").strip()
    moved = re.sub(r"(?<![\w/.])/(wheels|opt/vsal|home/vsal)\b", rf"{folder}/\1", bare)
    left = set(re.findall(r"(?<![\w.:/-])/[a-z][\w/-]*", moved.replace(str(folder), ""))) - {"/wheels", "/bin/bash"}
    left -= {"/opt/vsal", "/home/vsal"} | {path for path in left if path.startswith("/wheels")}
    assert not left, f"{left} of this machine would be used"
    return moved


def test_shell_steps_run_in_a_fresh_folder(tmp_path: Path) -> None:
    """Those that build and install vsal really do; of Debian's packages it is asked whether there are such."""
    source = tmp_path / "src"
    for name in sent_to_the_engine():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPO / name, source / name)
    # Dependencies are this environment's, as if they had been downloaded; vsal itself must come out of the steps.
    site = tmp_path / "site"
    programs = shim(
        tmp_path,
        pip=f'exec {sys.executable} -m pip "$1" --quiet --no-deps --disable-pip-version-check "${{@:2}}"',
        vsal=f'exec {sys.executable} -c "from vsal.cli import main; main()" "$@"',
        python=f'exec {sys.executable} "$@"',
        useradd="",
        apt_get="",  # another test asks whether there are such packages
        SvtAv1EncApp="",
    )
    environment = programs.environment | {"PYTHONPATH": f"{site}:{tmp_path / 'opt/vsal'}"}
    ran = []
    for command in steps("RUN"):
        shell = in_a_fresh_folder(command, tmp_path)
        if "pip install" in shell:
            shutil.copytree(REPO / "jobs", tmp_path / "opt/vsal/jobs", dirs_exist_ok=True)
            shell = re.sub(r'"ray\[default\].*?"', "", shell)  # only a download
            shell = shell.replace("pip install", f"pip install --upgrade --target {site}")
        cwd = source if "pip wheel" in shell else tmp_path
        done = subprocess.run(
            ["bash", "-ec", shell], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, f"{shell}\n{done.stdout}{done.stderr}"
        ran.append((shell, done.stdout))
    assert (site / "vsal" / "__init__.py").is_file()
    (models,) = (output for shell, output in ran if "vsal models list" in shell)
    assert "image_saliency_student_v2" in models
    assert str(REPO) not in models


def test_debian_has_the_packages() -> None:
    apt = shutil.which("apt-cache")
    (packages,) = (value for value in steps("RUN") if "apt-get install" in value)
    names = packages.partition("--no-install-recommends")[2].split()
    if apt is None or not subprocess.run([apt, "pkgnames", "wget"], capture_output=True, check=False).stdout:
        pytest.skip(f"no lists of Debian's packages here: that there are {names} was not checked")
    for name in names:
        shown = subprocess.run([apt, "show", name], capture_output=True, text=True, timeout=60, check=False)
        assert f"Package: {name}" in shown.stdout


def test_the_image_has_what_vsal_runs_on() -> None:
    """The Python of the tag is one that pyproject allows, and the extras exist."""
    import tomllib

    project = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
    extras = set(re.findall(r"\.whl\)\[(\w+)\]", DOCKERFILE.read_text()))
    assert extras == {"launcher", "cuda"}
    assert extras <= set(project["optional-dependencies"])
    minor = re.search(r"PYTHON_TAG=3\.(\d+)", DOCKERFILE.read_text())
    low, high = re.findall(r"3\.(\d+)", project["requires-python"])
    assert minor
    assert int(low) <= int(minor[1]) < int(high)
