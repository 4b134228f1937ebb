"""The emulators are found in order, answer, and are provisioned; a failed start is one message."""

import shutil
import socket
from pathlib import Path

import anyio
import pytest

from deploy.local.emulators import running_emulators
from deploy.local.errors import MissingEmulatorError, StartFailedError
from deploy.local.processes import free_port
from deploy.local.provision import StackNames, provisioner
from tests.support.processes import environ, members

pytestmark = [
    pytest.mark.emulators,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in Linux's /proc"),
]

FAKE_DOCKER = """#!/bin/sh
echo "$*" >>{calls}
case $1 in
  info) exit {info} ;;
  run) shift; while [ "$1" != --publish ]; do shift; done
       port=${{2#127.0.0.1:}}; port=${{port%%:*}}
       case $3 in
         *spanner*) exec {sdk}/bin/cloud_spanner_emulator/gateway_main --hostname 127.0.0.1 --grpc_port $port \\
                         --http_port {rest_port} ;;
         *) exec {sdk}/platform/pubsub-emulator/bin/cloud-pubsub-emulator --host=127.0.0.1 --port=$port ;;
       esac ;;
esac
"""


def only(directory: Path, *programs: str) -> str:
    """A PATH on which only these are, and what a shell script needs."""
    directory.mkdir()
    for program in (*programs, "sh", "uname", "dirname", "ls", "expr", "which", "sed", "basename"):
        found = shutil.which(program)
        assert found is not None, program
        (directory / program).symlink_to(found)
    return str(directory)


async def test_a_variable_that_names_nobody_is_an_error(tmp_path: Path) -> None:
    dead = f"127.0.0.1:{free_port()}"
    with pytest.raises(StartFailedError, match=f"SPANNER_EMULATOR_HOST is {dead}, but no Spanner emulator answers"):
        async with running_emulators(tmp_path, environ(SPANNER_EMULATOR_HOST=dead, PUBSUB_EMULATOR_HOST=dead)):
            pass


async def test_nothing_installed_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(MissingEmulatorError) as caught:
        async with running_emulators(tmp_path, environ(PATH=only(tmp_path / "bin"))):
            pass
    for part in (
        "no Spanner emulator and no Pub/Sub emulator",
        "gcloud components install cloud-spanner-emulator pubsub-emulator",
        "apt-get install google-cloud-cli-spanner-emulator google-cloud-cli-pubsub-emulator",
        "Docker",
        "SPANNER_EMULATOR_HOST and PUBSUB_EMULATOR_HOST",
    ):
        assert part in str(caught.value)


async def test_no_java_is_its_own_message(tmp_path: Path) -> None:
    without_java = environ(PATH=only(tmp_path / "bin", "gcloud"))
    without_java.pop("JAVA_HOME", None)
    with pytest.raises(MissingEmulatorError) as caught:
        async with running_emulators(tmp_path, without_java):
            pass
    expected = "the Pub/Sub emulator needs Java: install a JRE, for example 'apt-get install default-jre-headless'"
    assert str(caught.value) == expected


async def test_started_provisioned_twice_used_by_others_and_ended(tmp_path: Path) -> None:
    async with running_emulators(tmp_path, environ()) as emulators:
        groups = [process.pid for process in emulators.processes]
        assert len(members(groups)) == 3, "gateway_main, its emulator_main, and java"
        assert all(process.log_path and process.log_path.parent == tmp_path for process in emulators.processes)
        names = StackNames.unique("emulators")
        async with provisioner(emulators) as provision:
            await provision.provision(names)
            await provision.provision(names, max_delivery_attempts=5)
            await provision.drop_database(names)
            await provision.drop_database(names)
            await provision.delete_topics(names)
            await provision.delete_instance(names)
        async with running_emulators(tmp_path / "other", environ(**emulators.variables)) as same:
            assert same.variables == emulators.variables
            assert same.processes == []
        assert len(members(groups)) == 3, "what was found running is left running"
    assert members(groups) == []


async def test_docker_comes_last_and_its_containers_are_ended_by_name(tmp_path: Path) -> None:
    gcloud = shutil.which("gcloud")
    assert gcloud is not None
    path = only(tmp_path / "bin", "java")
    calls = tmp_path / "calls"
    docker = tmp_path / "bin" / "docker"
    sdk = Path(gcloud).resolve().parent.parent  # noqa: ASYNC240 -- nothing else runs in this loop
    docker.write_text(FAKE_DOCKER.format(calls=calls, info=0, sdk=sdk, rest_port=free_port()))
    docker.chmod(0o755)
    async with running_emulators(tmp_path, environ(PATH=path)) as emulators:
        groups = [process.pid for process in emulators.processes]
    assert members(groups) == []
    info, *runs, pubsub_removed, spanner_removed = calls.read_text().splitlines()
    assert info == "info"
    assert [run.split()[:2] for run in runs] == [["run", "--rm"]] * 2
    assert [removed.split()[:2] for removed in (spanner_removed, pubsub_removed)] == [["rm", "--force"]] * 2
    # Both start at once, so the order of the two runs is open.
    ended = [[removed.split()[-1] in run for run in runs] for removed in (spanner_removed, pubsub_removed)]
    assert sorted(ended) == [[False, True], [True, False]]


async def test_one_that_dies_at_start_is_reported_at_once_with_its_log(tmp_path: Path) -> None:
    sdk = tmp_path / "sdk"
    for program, script in (("gcloud", ""), ("cloud_spanner_emulator/gateway_main", "echo no licence to run; exit 3")):
        path = sdk / "bin" / program
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    dead = f"127.0.0.1:{free_port()}"
    started = anyio.current_time()
    with pytest.raises(StartFailedError, match=r"(?s)Spanner emulator ended with 3 .*no licence to run"):
        async with running_emulators(tmp_path, environ(PATH=f"{sdk}/bin:/usr/bin:/bin", PUBSUB_EMULATOR_HOST=dead)):
            pass
    assert anyio.current_time() - started < 2


def test_free_ports_are_given_once() -> None:
    ports = [free_port() for _ in range(20)]
    assert len(set(ports)) == 20


async def test_a_port_taken_meanwhile_is_changed_for_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as somebody:
        taken = somebody.getsockname()[1]
        # The Spanner emulator's port, its REST port, the Pub/Sub emulator's port; what comes after is free.
        offered = iter([taken, free_port(), taken])
        monkeypatch.setattr("deploy.local.emulators.free_port", lambda: next(offered, None) or free_port())
        async with running_emulators(tmp_path, environ()) as emulators:
            assert str(taken) not in emulators.spanner_host + emulators.pubsub_host
            assert len(emulators.processes) == 2, "those without a port were ended and forgotten"
