"""The local stack as a program uses it: `up --json`, and its messages when something is missing or ends."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.local.emulators import Emulators
from deploy.local.stack import REPOSITORY

pytestmark = [pytest.mark.emulators, pytest.mark.processes]


def start_stack(*arguments: str, env: dict[str, str] | None = None) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "deploy.local", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def stack() -> Iterator[tuple["subprocess.Popen[str]", dict[str, Any]]]:
    process = start_stack("up", "--json", "--workers", "2")
    assert process.stdout is not None
    line = process.stdout.readline()
    try:
        yield process, json.loads(line)
    finally:
        process.kill() if process.poll() is None else None
        process.communicate()


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_says_where_everything_is_reports_deaths_and_leaves_nothing_behind(
    stack: tuple["subprocess.Popen[str]", dict[str, Any]],
) -> None:
    process, said = stack

    assert {
        "ingress_url", "statsig_url", "statsig_log", "project", "spanner_instance", "spanner_database",
        "spanner_emulator_host", "pubsub_emulator_host", "forward_topic", "forward_subscription", "dead_letter_topic",
        "dead_letter_subscription", "pids",
    } <= said.keys()  # fmt: skip
    assert {"ingress", "worker-1", "worker-2", "statsig-stand-in", "spanner-emulator", "pubsub-emulator"} == said[
        "pids"
    ].keys()

    os.kill(said["pids"]["worker-1"], signal.SIGKILL)
    assert process.stderr is not None
    for line in process.stderr:
        if "worker-1" in line and "ended" in line:
            break
    assert process.poll() is None
    assert is_running(said["pids"]["ingress"])

    started = time.monotonic()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=12)
    assert process.returncode == 0
    assert time.monotonic() - started < 10
    assert not [name for name, pid in said["pids"].items() if is_running(pid)]


def test_a_port_in_use_is_one_message_and_exit_code_2(emulators: Emulators) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = start_stack("up", "--json", "--ingress-port", str(port), env=emulators.variables)
        out, err = process.communicate(timeout=30)

    assert process.returncode == 2
    assert out == ""
    assert f"port {port} is in use" in err
    assert "Traceback" not in err


def test_missing_emulators_are_one_message_and_exit_code_2(tmp_path: Path) -> None:
    process = start_stack("up", "--json", env={"PATH": str(tmp_path)})
    _, err = process.communicate(timeout=30)

    assert process.returncode == 2
    assert "gcloud components install" in err
    assert "Traceback" not in err


def test_run_shows_the_journey_of_an_event_and_ends_with_ctrl_c(emulators: Emulators) -> None:
    process = start_stack("run", "--ingress-port", "0", env=emulators.variables)
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if "Ctrl-C" in line:
            break
    curl = said[said.index("curl") :].replace("\\\n", " ").splitlines()[0]
    answer = subprocess.run(["/bin/sh", "-c", curl + " -s"], capture_output=True, check=True, text=True).stdout
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=12)

    assert process.returncode == 0
    stages = ["committed", "published", "claimed", "sent", "settled"]
    positions = [said.index(f"ms   {stage}") if f"ms   {stage}" in said else said.index(stage) for stage in stages]
    assert positions == sorted(positions)
    assert "eventId" in json.loads(answer)


def test_ctrl_c_while_starting_ends_everything_without_a_traceback() -> None:
    process = start_stack("run", "--ingress-port", "0")
    assert process.stdout is not None
    process.stdout.readline()  # "Starting": from here on there are processes to end
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=12)

    assert process.returncode == 0
    assert err == ""


def test_demo_accounts_for_every_event(emulators: Emulators) -> None:
    process = start_stack("demo", env=emulators.variables)
    out, err = process.communicate(timeout=55)

    assert process.returncode == 0, out + err
    assert "Everything is where it belongs." in out
