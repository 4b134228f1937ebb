"""The Dockerfile's build steps, carried out in a clean environment, and what then starts.

No engine is needed, so this runs wherever the other tests do. What it cannot show: the base image itself, layers, the
user and a read-only root enforced by a container runtime.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from deploy.local.stack import REPOSITORY
from tests.support.parsers.dockerfile import carry_out, stages

pytestmark = pytest.mark.timeout(120)

BASE = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders that the final stage takes over, as `venv` and `app`; never written to again."""
    root = tmp_path_factory.mktemp("image")
    work = root / "build"
    work.mkdir()
    python = root / "builder" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", root / "builder"], check=True)
    build, _ = stages((REPOSITORY / "deploy" / "Dockerfile").read_text())
    installers = {key: value for key, value in os.environ.items() if key.startswith(("PIP_", "SSL_", "REQUESTS_"))}
    carry_out(
        build,
        context=REPOSITORY,
        work=work,
        replace={
            # What installs fetches from where this machine may, with its cache: it takes seconds then.
            "python -m pip --python /opt/venv/bin/python install --no-compile --only-binary :all:": (
                f"{sys.executable} -m uv --quiet pip install --python {root}/venv/bin/python --only-binary :all:"
            ),
            "/opt/venv": f"{root}/venv",
            "/opt/app": f"{root}/app",
            "python -m venv": f"{sys.executable} -m venv",
            "python -m pip": f"{python} -m pip",
        },
        env=BASE | installers,
    )
    return root


def start(built: Path, program: str, environment: Mapping[str, str], cwd: Path) -> subprocess.CompletedProcess[str]:
    """As the image's ENTRYPOINT does it, from a folder that must not be imported from."""
    return subprocess.run(
        [built / "venv" / "bin" / "python", "-P", "-m", program],
        cwd=cwd,
        env={"PYTHONPATH": str(built / "app"), "PYTHONDONTWRITEBYTECODE": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


@pytest.mark.parametrize("program", ["ingress", "worker"])
def test_without_settings_it_says_what_is_missing(built: Path, program: str, tmp_path: Path) -> None:
    done = start(built, program, {}, tmp_path)

    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("the environment is not valid:\n")
    assert "  GOOGLE_CLOUD_PROJECT must be set\n" in done.stderr
    assert ("STATSIG_SERVER_SECRET" in done.stderr) is (program == "worker")


def test_nothing_is_written_and_everything_is_compiled(built: Path, tmp_path: Path) -> None:
    folders = [built / "venv" / "lib", built / "app"]
    before = {path for folder in folders for path in folder.rglob("*")}
    start(built, "ingress", {}, tmp_path)

    assert {path for folder in folders for path in folder.rglob("*")} == before
    sources = list((built / "app").rglob("*.py"))
    tag = f"cpython-{sys.version_info.major}{sys.version_info.minor}"
    assert sources
    assert all((path.parent / "__pycache__" / f"{path.stem}.{tag}.pyc").exists() for path in sources)


def test_the_operators_command_is_where_terraform_runs_it(built: Path, tmp_path: Path) -> None:
    script = built / "app" / "bin" / "nest-events"
    interpreter = script.read_text().splitlines()[0]
    done = subprocess.run(
        [built / "venv" / "bin" / "python", script, "--help"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(built / "app"), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )

    assert interpreter == f"#!{built / 'venv' / 'bin' / 'python'}"
    assert done.returncode == 0, done.stderr
    assert "dead-letters" in done.stdout


def test_the_console_has_its_templates_and_its_files_there(built: Path, tmp_path: Path) -> None:
    program = (
        "import sys; from starlette.requests import Request; from worker.operators.console.rendering import Pages; "
        "from worker.operators.console import app; "
        "request = Request({'type': 'http', 'method': 'GET', 'path': '/', 'headers': [], 'query_string': b''}); "
        "pages = Pages(place='here', form_token='f'); "
        "print(pages.page(request, 'trouble.html', title='t', sentence='said').body.decode())"
    )
    done = subprocess.run(
        [built / "venv" / "bin" / "python", "-P", "-c", program],
        cwd=tmp_path,
        env={"PYTHONPATH": str(built / "app"), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    folder = Path("worker", "operators", "console")
    ours = {
        path.relative_to(REPOSITORY)
        for name in ("templates", "static")
        for path in (REPOSITORY / folder / name).iterdir()
    }

    assert "said" in done.stdout, done.stderr
    assert len(ours) > 10
    assert all((built / "app" / path).is_file() for path in ours)


def test_it_holds_our_programs_and_no_installer_or_test_tool(built: Path) -> None:
    app = {path.name for path in (built / "app").iterdir()}
    site = next((built / "venv" / "lib").glob("python*")) / "site-packages"
    installed = {path.name.lower() for path in site.iterdir()}

    assert {"ingress", "worker", "shared"} <= app
    assert not {"deploy", "tests", "proto"} & app
    assert any(name.startswith("event_logging-") for name in app), "importlib.metadata.version() needs it"
    assert not {"pip", "setuptools", "wheel", "hatchling", "pytest", "duckdb"} & installed
