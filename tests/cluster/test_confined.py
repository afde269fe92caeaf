"""vsal in what the security context of the manifests leaves it: a read-only root, no capabilities, few folders."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests import handmade
from tests.cluster.manifests import REPO, groups, ray_container, ray_document

# In namespaces of its own: everything read-only but /tmp and /dev/shm; then without any capability.
CONFINED = """
set -eu
mount --make-rprivate /
mount -t tmpfs tmpfs /tmp
mkdir -p /tmp/home
mount -o remount,bind,ro /
if touch "$1/probe" 2>/dev/null; then echo "the root can be written to"; exit 3; fi
export HOME=/tmp/home PYTHONDONTWRITEBYTECODE=1
cd /tmp
confined="setpriv --bounding-set=-all --inh-caps=-all --no-new-privs"
$confined "$2" -m vsal prepare "$3" --out /tmp/out --json >/tmp/prepared
$confined "$2" -m vsal encode /tmp/out --dest /tmp/enc --preset superfast --json >/tmp/encoded
ls /tmp/enc
"""


@pytest.mark.faults  # twenty seconds, of Ray's start twice
def test_both_jobs_work_under_a_read_only_root_without_capabilities(tmp_path: Path) -> None:
    for _, group in groups(ray_document("rayjob", "eks")):
        mounts = {mount["mountPath"] for mount in ray_container(group)["volumeMounts"]}
        assert mounts == {"/tmp", "/home/vsal", "/spill"}
    unshare = ["unshare", "--mount", "--pid", "--fork", "--mount-proc"]
    probe = [*unshare, "bash", "-c", "mount --make-rprivate / && mount -o remount,bind,ro / && setpriv --help"]
    if subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("no mounts of one's own here: that vsal writes nowhere else was not checked")
    clip = handmade.write_clip(Path("/dev/shm") / f"vsal-{tmp_path.name}.mp4")
    try:
        words = [*unshare, "bash", "-c", CONFINED, "confined", str(REPO), sys.executable, str(clip)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=280, check=False)
    finally:
        clip.unlink()
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{clip.stem}.mp4" in done.stdout
