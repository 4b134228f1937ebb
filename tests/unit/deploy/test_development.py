"""What people develop with says the same as what the project is checked with, and names only what there is."""

import importlib.metadata
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.core import TyperGroup

from deploy.local.stack import REPOSITORY
from tests.support.operators.browser import PROGRAMS
from worker.operators.cli import app as operators

WORKFLOWS = sorted((REPOSITORY / ".github" / "workflows").glob("*.yml"))
DEV_CONTAINER = REPOSITORY / ".devcontainer"
GUIDES = [
    REPOSITORY / name
    for name in (
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "deploy/METRICS.md",
        "deploy/README.md",
        "deploy/clients/README.md",
        "tests/README.md",
        "tests/faults/README.md",
    )
]
MAKEFILE = (REPOSITORY / "Makefile").read_text()
VERBS = set(re.findall(r"^([a-z-]+):.*## ", MAKEFILE, re.MULTILINE))


def name_of(guide: Path) -> str:
    return str(guide.relative_to(REPOSITORY))


def sections_of(page: Path) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def folders_in(folder: str) -> set[str]:
    """Each as tests/README.md names it."""
    return {
        str(path.relative_to(REPOSITORY / "tests"))
        for path in (REPOSITORY / folder).iterdir()
        if path.is_dir() and path.name != "__pycache__"
    }


def commands_of(command: object) -> Iterator[str]:
    """The names of all commands in a group, those of inner groups included."""
    if isinstance(command, TyperGroup):
        for name, inner in command.commands.items():
            yield from (f"{name} {each}".strip() for each in commands_of(inner))
    else:
        yield ""


def parsed(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def locked(package: str) -> str:
    (version,) = re.findall(rf"^{package}==(\S+)", (REPOSITORY / "requirements-dev.lock").read_text(), re.MULTILINE)
    return str(version)


def dev_container() -> dict[str, Any]:
    settings: dict[str, Any] = json.loads((DEV_CONTAINER / "devcontainer.json").read_text())
    return settings


def commands(workflow: Path) -> list[str]:
    jobs = parsed(workflow)["jobs"].values()
    return [step["run"] for job in jobs for step in job["steps"] if "run" in step]


def verbs_in(text: str) -> set[str]:
    """Those of lines and quotes that begin with `make`: in a sentence it is a word like others."""
    called = re.findall(r"(?:^\s*|`|&& )make ((?:[a-z][a-z-]* ?)+)", text, re.MULTILINE)
    return {verb for verbs in called for verb in verbs.split()}


def hooks() -> dict[str, dict[str, Any]]:
    repositories = parsed(REPOSITORY / ".pre-commit-config.yaml")["repos"]
    # Another one would come with versions of its own, beside those that are locked.
    assert [each["repo"] for each in repositories] == ["local"]
    return {hook["id"]: hook for hook in repositories[0]["hooks"]}


def test_a_commit_meets_the_ruff_that_is_locked() -> None:
    entries = [hook["entry"].split() for hook in hooks().values()]
    assert [entry[1] for entry in entries if entry[0] == ".venv/bin/ruff"] == ["format", "check"]
    assert importlib.metadata.version("ruff") == locked("ruff")


def test_hooks_run_programs_of_the_locked_environment() -> None:
    assert all(hook["language"] == "system" and hook["entry"].startswith(".venv/bin/") for hook in hooks().values())


def test_ci_runs_what_people_run_on_the_oldest_python_and_on_a_newer_one() -> None:
    (job,) = parsed(REPOSITORY / ".github" / "workflows" / "ci.yml")["jobs"].values()
    matrix = job["strategy"]["matrix"]
    assert job["steps"][-1]["run"].endswith(" dev .ci/run")
    assert (REPOSITORY / ".ci" / "run").is_file()
    assert f'requires-python = ">={matrix["python"][0]}"' in (REPOSITORY / "pyproject.toml").read_text()
    assert len(matrix["python"]) == 2


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_name_verbs_that_exist_and_actions_by_their_commit(workflow: Path) -> None:
    assert verbs_in("\n".join(commands(workflow))) <= VERBS
    for job in parsed(workflow)["jobs"].values():
        uses = [step["uses"] for step in job["steps"] if "uses" in step]
        assert all(re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", each) for each in uses)
        assert "timeout-minutes" in job


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_may_only_read_unless_a_job_says_more(workflow: Path) -> None:
    assert parsed(workflow)["permissions"] == {"contents": "read"}


def test_the_dev_container_is_made_by_files_and_verbs_that_exist() -> None:
    settings = dev_container()
    assert (DEV_CONTAINER / settings["build"]["dockerfile"]).is_file()
    assert verbs_in(settings["postCreateCommand"]) <= VERBS
    assert locked("pre-commit")


def test_the_dev_container_has_the_emulators_that_the_local_stack_starts() -> None:
    local = re.findall(r'image="(\S+-emulators)"', (REPOSITORY / "deploy" / "local" / "emulator_kinds.py").read_text())
    assert re.findall(r"^FROM (\S+) AS emulators$", (DEV_CONTAINER / "Dockerfile").read_text(), re.MULTILINE) == local


def test_ci_has_the_browser_that_tests_look_for() -> None:
    browser = "chromium"
    installed = re.search(r"apt-get install [^&]*", (DEV_CONTAINER / "Dockerfile").read_text())
    assert PROGRAMS[0] == browser
    assert installed is not None
    assert browser in installed[0].split()
    assert f"--no-install-recommends {browser}\n" in (REPOSITORY / ".ci" / "run").read_text()


def test_updates_find_the_images_that_the_local_stack_starts() -> None:
    (manager,) = json.loads((REPOSITORY / ".github" / "renovate.json").read_text())["customManagers"]
    (name,) = manager["managerFilePatterns"]
    (pattern,) = manager["matchStrings"]
    found = re.findall(pattern.replace("(?<", "(?P<"), (REPOSITORY / name).read_text())
    assert [image.rpartition("/")[2] for image, _ in found] == ["emulator", "google-cloud-cli"]


@pytest.mark.parametrize("guide", GUIDES, ids=name_of)
def test_guides_name_verbs_and_files_that_exist(guide: Path) -> None:
    text = guide.read_text()
    assert verbs_in(text) <= VERBS
    for name in re.findall(r"`((?:ingress|worker|shared|deploy|tests|proto)/[\w./-]*)`", text):
        assert (REPOSITORY / name).exists(), name
    for link in re.findall(r"\]\(([^)#:]+)[^):]*\)", text):
        assert (guide.parent / link).exists(), link


@pytest.mark.parametrize("guide", GUIDES, ids=name_of)
def test_links_to_sections_lead_to_sections_that_exist(guide: Path) -> None:
    for link, section in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", guide.read_text()):
        page = guide.parent / link if link else guide
        assert section in sections_of(page), f"{link}#{section}"


def test_the_readme_can_be_read_at_one_sitting() -> None:
    assert len((REPOSITORY / "README.md").read_text().splitlines()) <= 150


@pytest.mark.parametrize("command", sorted(commands_of(typer.main.get_command(operators))))
def test_the_readme_lists_every_command_of_operators(command: str) -> None:
    assert re.search(rf"^(.*; )?nest-events {command}\b.*# ", (REPOSITORY / "README.md").read_text(), re.MULTILINE)


def test_every_folder_of_tests_has_its_line() -> None:
    text = (REPOSITORY / "tests" / "README.md").read_text()
    described = set(re.findall(r"^\| `([\w/]+)/` \|", text, re.MULTILINE))
    assert described == folders_in("tests") | folders_in("tests/unit") | folders_in("tests/support")


def test_the_fast_tests_are_all_but_those_that_are_marked() -> None:
    assert '-m "not emulators and not processes"' in MAKEFILE
