"""Every command of deploy/RUNBOOK.md runs, on a stack in the state that the runbook is for."""

import re
import shlex
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pyqwest
import pytest

from deploy.local.emulators import Emulators
from deploy.local.provision import StackNames
from deploy.local.stack import REPOSITORY, Stack, StackOptions, running_stack
from shared.events.event_ids import event_id_of_key
from shared.events.rules import Match
from tests.support.emulators.seeded_events import SeededEvents
from tests.support.operators.nest_events import nest_events
from tests.support.sample_rules import AUDIT, sample_rule

pytestmark = [pytest.mark.emulators, pytest.mark.processes]

EXAMPLE_ID = "6cf56cc8-4ae1-4405-bc63-97157a1b5c23"
EXAMPLE_RULE = "6cf56cc8"

# What these exit with where all is well but for some dead letters.
BAD_NEWS_OF = dict.fromkeys(("trace --actor user-17 --since 24h", "trace --actor user-17 --since 7d --until 24h"), 1)


def commands() -> list[str]:
    """Each once, whether in a block of its own or in a sentence; names without arguments are no commands."""
    text = (REPOSITORY / "deploy" / "RUNBOOK.md").read_text()
    found = re.findall(r"(?m)^nest-events ([^#\n]+)", text) + re.findall(r"`nest-events ([^`\n]+)`", text)
    return list(dict.fromkeys(each.strip() for each in found))


@pytest.fixture
async def stack(emulators: Emulators, names: StackNames, tmp_path: Path) -> AsyncIterator[Stack]:
    async with running_stack(tmp_path, StackOptions(), names=names, emulators=emulators) as running:
        yield running


def test_the_runbook_names_every_command() -> None:
    verbs = {" ".join(each.split()[:2]) if each.startswith("dead") else each.split()[0] for each in commands()}

    assert {
        "doctor", "status", "account", "trace", "log", "reconcile", "rules", "pause", "resume", "probe", "audit",
        "warnings", "forward", "erase",
        "dead-letters list", "dead-letters show", "dead-letters replay",
    } <= verbs  # fmt: skip


@pytest.mark.timeout(150)
async def test_every_command_of_the_runbook_works(
    stack: Stack, seeded: SeededEvents, environment: dict[str, str]
) -> None:
    assert stack.statsig_url is not None
    settings = environment | {"INGRESS_URL": stack.ingress_url, "STATSIG_API_URL": f"{stack.statsig_url}/v1"}
    # Nothing that is replayed is accepted, so that there is something for every command.
    refusal = b'[{"behaviour": {"kind": "refuse_event", "name_contains": "refused"}}]'
    await pyqwest.Client().put(f"{stack.statsig_url}/control", content=refusal)
    await seeded.rules.add([sample_rule(rule_id=EXAMPLE_RULE, match=Match(event_name="mended"))], AUDIT)
    (event,) = await seeded.log(1, name="refused", event_id=EXAMPLE_ID)
    await seeded.dead_letter([event], "http_400")
    keyed = event_id_of_key("104893205", "order-17-paid", is_verified=True)
    await seeded.log(1, caller="checkout@example.com", name="order_paid", event_id=keyed)
    with anyio.fail_after(20):
        while not await seeded.open_letters():
            await anyio.sleep(0.05)

    for command in commands():
        ran = await nest_events(settings, *shlex.split(command))
        said = f"{command}: {ran.code}\n{ran.out}\n{ran.err}"
        assert ran.code == BAD_NEWS_OF.get(command, 0), said
        assert "Traceback" not in ran.err, said
        assert ran.out, said
