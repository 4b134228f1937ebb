"""The Dockerfile: the linter's findings, and what no linter checks."""

import json
import re
import subprocess
import sys
from pathlib import Path

from deploy.local.stack import REPOSITORY
from tests.support.parsers.dockerfile import stages

DOCKERFILE = REPOSITORY / "deploy" / "Dockerfile"


def test_the_linter_has_nothing_to_say() -> None:
    linter = Path(sys.executable).with_name("hadolint")
    done = subprocess.run(
        [linter, "--no-color", "--failure-threshold", "style", DOCKERFILE], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.returncode) == ("", 0)


def test_every_stage_starts_from_one_base_by_digest() -> None:
    images = {stage.image for stage in stages(DOCKERFILE.read_text())}
    assert len(images) == 1
    assert re.fullmatch(r"docker\.io/library/python:3\.11-slim@sha256:[0-9a-f]{64}", images.pop())


def test_it_runs_as_nobody_and_receives_signals() -> None:
    final = stages(DOCKERFILE.read_text())[-1]
    assert final.all("USER") == ["65532:65532"]
    # JSON is the exec form: without it a shell would be process 1 and swallow SIGTERM.
    assert json.loads(final.all("ENTRYPOINT")[0])[-1] == "-m"
    assert json.loads(final.all("CMD")[0]) == ["ingress"]
    assert "PYTHONDONTWRITEBYTECODE=1" in final.all("ENV")[0]


def test_the_final_stage_installs_nothing_and_holds_no_tools() -> None:
    final = stages(DOCKERFILE.read_text())[-1]
    assert all(copied.startswith("--from=build /opt/") for copied in final.all("COPY"))
    (run,) = final.all("RUN")
    assert "install " not in run.replace("uninstall ", "")
    assert all(tool in run for tool in ("pip", "setuptools", "wheel", "ensurepip"))


def test_every_install_is_by_hash_or_of_our_own_wheel() -> None:
    installs = [
        part
        for run in stages(DOCKERFILE.read_text())[0].all("RUN")
        for part in run.split("&&")
        if re.search(r"\binstall\b", part)
    ]
    assert len(installs) == 3
    assert all("--require-hashes" in part or "--no-index" in part for part in installs)


def test_the_build_context_is_what_is_copied() -> None:
    allowed = {line[1:] for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        source for arguments in stages(DOCKERFILE.read_text())[0].all("COPY") for source in arguments.split()[:-1]
    }
    assert allowed == copied


def test_dependencies_are_copied_before_our_code() -> None:
    order = [arguments.split()[0] for arguments in stages(DOCKERFILE.read_text())[0].all("COPY")]
    assert order[:3] == ["requirements.lock", "deploy/requirements-build.lock", "pyproject.toml"]
