"""Help, completion and usage errors of `nest-events` import no client library, so that they answer at once.

The tests check what is imported, not how long it takes, which depends on the machine.
"""

import os
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup

from deploy.local.stack import REPOSITORY
from tests.support.operators.nest_events import SECONDS, inherited
from worker.operators.cli import app

OURS = {"worker", "shared"}
TYPER = {"typer", "annotated_doc", "shellingham"}
PARSING = {"pydantic", "pydantic_core", "annotated_types", "typing_extensions", "typing_inspection"}
"""What typer imports to convert values as soon as an option is parsed: about as much as the rest, and not ours."""

RICH = {"rich", "pygments", "markdown_it", "mdurl", "attr"}
"""What typer imports to render help beside a completion, in shells that show it."""

PROGRAM = """
import os, sys
sys.argv[0] = "nest-events"
before = {{*sys.modules}}
from {module} import {name} as command
try:
    command()
finally:
    with open(os.environ["IMPORTED"], "w") as file:
        print(*({{*sys.modules}} - before), sep="\\n", file=file)
"""


@dataclass(frozen=True)
class Started:
    code: int
    out: str
    err: str
    modules: frozenset[str]

    @property
    def foreign(self) -> set[str]:
        """Packages that are neither ours nor Python's."""
        packages = {module.partition(".")[0] for module in self.modules}
        return {p for p in packages if p not in sys.stdlib_module_names and not p.startswith("_sysconfigdata")} - OURS


@dataclass(frozen=True)
class Start:
    folder: Path

    def __call__(self, *arguments: str, **environment: str) -> Started:
        """Run what the console script runs."""
        project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
        module, _, name = project["scripts"]["nest-events"].partition(":")
        imported = self.folder / "imported"
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM.format(module=module, name=name), *arguments],
            env=inherited({"IMPORTED": str(imported), **environment}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
        return Started(done.returncode, done.stdout, done.stderr, frozenset(imported.read_text().split()))

    def completing(self, shell: str, line: str) -> Started:
        """Run it as the shell's completion function does, with the cursor at the end of the line."""
        bash = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)}
        others = {"_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
        return self(_NEST_EVENTS_COMPLETE=f"complete_{shell}", **bash, **others)


@pytest.fixture
def start(tmp_path: Path) -> Start:
    return Start(tmp_path)


def commands(group: TyperGroup, *path: str) -> dict[tuple[str, ...], bool]:
    """Every path that can be typed, and whether it is a group."""
    found: dict[tuple[str, ...], bool] = {}
    for name, command in group.commands.items():
        found[*path, name] = isinstance(command, TyperGroup)
        if isinstance(command, TyperGroup):
            found |= commands(command, *path, name)
    return found


def root() -> TyperGroup:
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    return group


COMMANDS = commands(root())


def assert_light(started: Started, allowed: set[str]) -> None:
    assert started.foreign <= allowed
    assert "asyncio" not in started.modules
    assert "Traceback" not in started.err


def test_help_imports_typer_alone(start: Start) -> None:
    helped = start("--help")

    assert helped.code == 0
    assert all(path[0] in helped.out for path in COMMANDS)
    assert_light(helped, TYPER)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_on_a_command_imports_no_client(start: Start, command: tuple[str, ...]) -> None:
    helped = start(*command, "--help")

    assert helped.code == 0
    assert helped.out.startswith(f"Usage: nest-events {' '.join(command)} ")
    assert_light(helped, TYPER | PARSING)


@pytest.mark.parametrize("command", [path for path, is_group in COMMANDS.items() if not is_group], ids=" ".join)
def test_an_unknown_option_is_refused_without_a_client(start: Start, command: tuple[str, ...]) -> None:
    refused = start(*command, "--nonsense")

    assert refused.code == 2
    assert "No such option: --nonsense" in refused.err
    assert_light(refused, TYPER | PARSING)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "Usage: nest-events "),
        (("dead-letters",), "Usage: nest-events dead-letters "),
        (("nonsense",), "No such command 'nonsense'"),
        (("dead-letters", "show"), "Missing argument 'EVENT_ID'"),
        (("dead-letters", "list", "--limit", "x"), "Invalid value for '--limit'"),
        (("account", "--since"), "Option '--since' requires an argument"),
        (("doctor", "surplus"), "unexpected extra argument"),
    ],
)
def test_other_wrong_usage_is_refused_without_a_client(start: Start, arguments: tuple[str, ...], says: str) -> None:
    refused = start(*arguments)

    assert refused.code == 2
    assert says in refused.out + refused.err
    assert_light(refused, TYPER | PARSING)


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("nest-events ", {path[0] for path in COMMANDS}),
        ("nest-events dead-letters re", {"replay"}),
        ("nest-events account --s", {"--since"}),
        ("nest-events account --since ", set()),
    ],
)
def test_bash_completes_commands_and_options_without_a_client(start: Start, line: str, offered: set[str]) -> None:
    completed = start.completing("bash", line)

    assert completed.code == 0
    assert set(completed.out.split()) == offered
    assert_light(completed, TYPER | PARSING)


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_shells_that_show_help_complete_without_a_client(start: Start, shell: str) -> None:
    completed = start.completing(shell, "nest-events account --s")

    assert completed.code == 0
    assert "--since" in completed.out
    assert "From when" in completed.out
    assert_light(completed, TYPER | PARSING | RICH)


def test_what_bash_is_given_to_source_completes(start: Start, tmp_path: Path) -> None:
    given = start(_NEST_EVENTS_COMPLETE="source_bash")
    command = tmp_path / "nest-events"
    code = "from worker.operators.cli import app; app(prog_name='nest-events')"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{code}" "$@"\n')
    command.chmod(0o755)
    typed = "COMP_WORDS=(nest-events dead-letters re); COMP_CWORD=2"
    ask = f"{given.out}\n{typed}\n_nest_events_completion nest-events\necho ${{COMPREPLY[*]}}"

    done = subprocess.run(
        ["bash", "--norc", "-c", ask],  # noqa: S607 - the bash that the operator's PATH names
        env=inherited({"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}),
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )

    assert (done.stdout, done.stderr) == ("replay\n", "")


@pytest.mark.parametrize("command", [("account",), ("dead-letters", "list")], ids=" ".join)
def test_a_command_that_runs_does_import_them(start: Start, command: tuple[str, ...]) -> None:
    ran = start(*command)

    assert ran.code == 2
    assert "nest-events: the environment is not valid" in ran.err
    assert {"google", "anyio", "opentelemetry"} <= ran.foreign
