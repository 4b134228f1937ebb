"""Every wrong input and every outage gives one clear line and its exit code, never a traceback."""

import uuid

import pytest

from tests.support.operators.nest_events import Ran, nest_events

UNREACHABLE = "127.0.0.1:9"
SOMEWHERE = {
    "GOOGLE_CLOUD_PROJECT": "p",
    "SPANNER_INSTANCE": "i",
    "SPANNER_DATABASE": "d",
    "SPANNER_EMULATOR_HOST": UNREACHABLE,
    "PUBSUB_EMULATOR_HOST": UNREACHABLE,
    "FORWARD_TOPIC": "f",
    "FORWARD_SUBSCRIPTION": "f",
    "DEAD_LETTER_TOPIC": "d",
    "DEAD_LETTER_SUBSCRIPTION": "d",
    "COMMIT_TIMEOUT_SECONDS": "0.5",
}


def assert_one_line(ran: Ran, code: int, says: str) -> None:
    lines = [line for line in ran.err.splitlines() if line.startswith("nest-events: ")]
    assert ran.code == code, ran.err
    assert len(lines) == 1, ran.err
    assert says in lines[0]
    assert "Traceback" not in ran.out + ran.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["dead-letters", "list", "--older-than", "yesterday"], "neither an age (90s, 15m, 24h, 7d) nor a time"),
        (["dead-letters", "replay", "--younger-than", "1h", "--older-than", "1h"], "nothing is both"),
        (["dead-letters", "replay", "--ids-from", "/nowhere/ids"], "No such file"),
        (["dead-letters", "replay", "--ids-from", "-"], "no ids in it"),
        (["trace"], "give EVENT_IDs"),
        (["trace", "--actor", "a", "--since", "1y"], "neither an age"),
        (["trace", "--actor", "a", "--since", "1h", "--until", "1h"], "--since 1h must be earlier than --until 1h"),
        (["account", "--since", "91d"], "kept for 90 days"),
        (["account", "--since", "yesterday"], "neither an age (90s, 15m, 24h, 7d) nor a time (2026-11-24T22:00Z"),
        (["account", "--since", "1h", "--until", "2h"], "--since 1h must be earlier than --until 2h"),
        (["log", "--url", "nonsense"], "is not the address of an ingress"),
        (["log", "--url", "http://host:port"], "is not the address of an ingress"),
        (["log", "--event-name", " "], "1 to 256 characters"),
        (["log", "--event-name", "x" * 257], "1 to 256 characters"),
        (["log", "--event-name", "a[b]"], "Statsig drops events"),
        (["forward", "--from", "91d", "--to", "1h"], "so an older event may have been forwarded already"),
        (["forward", "--from", "1h", "--to", "2h"], "--from 1h must be earlier than --to 2h"),
        (["forward", "--from", "yesterday", "--to", "1h"], "neither an age"),
        (["forward", "--from", "2h", "--to", "1h", "--yes"], "--yes needs --why"),
        (["forward", "--from", "2h", "--to", "1h", "--yes", "--why", "x" * 501], "longer than 500 characters"),
        (["warnings", "--since", "8d"], "--since 8d: these counts go back 7 days"),
        (["warnings", "--since", "0s"], "--since 0s must be earlier than now"),
        (["reconcile"], "either --now or --older-than"),
        (["erase", "--actor", ""], "--actor must not be empty"),
        (["erase", "--actor", "-", "--yes"], "--actor must not be empty"),
    ],
)
async def test_wrong_arguments_are_told_before_anything_is_asked(arguments: list[str], says: str) -> None:
    assert_one_line(await nest_events(SOMEWHERE, *arguments), 2, says)


@pytest.mark.parametrize(
    "arguments", [["dead-letters", "replay", "--rate", "0"], ["dead-letters", "list", "--limit", "x"], ["nonsense"]]
)
async def test_what_is_no_option_is_usage(arguments: list[str]) -> None:
    ran = await nest_events(SOMEWHERE, *arguments)

    assert ran.code == 2
    assert "Error: " in ran.err
    assert "Traceback" not in ran.err


async def test_missing_settings_are_all_named() -> None:
    ran = await nest_events({}, "account")

    assert_one_line(ran, 2, "the environment is not valid")
    assert all(f"{name} must be set" in ran.err for name in ("SPANNER_INSTANCE", "DEAD_LETTER_SUBSCRIPTION"))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["dead-letters", "list"], "Spanner"),
        (["account"], "Spanner"),
        (["trace", str(uuid.uuid4())], "Spanner"),
        (["reconcile", "--now"], "Spanner"),
        (["log", "--url", f"http://{UNREACHABLE}"], "answered unavailable"),
    ],
)
async def test_what_cannot_be_reached_is_told(arguments: list[str], says: str) -> None:
    assert_one_line(await nest_events(SOMEWHERE, *arguments), 3, says)


async def test_doctor_goes_on_where_nothing_answers() -> None:
    ran = await nest_events(SOMEWHERE, "doctor", "--json")

    assert ran.code == 1
    verdicts = {finding["subject"]: finding["verdict"] for finding in ran.json["findings"]}
    assert [verdicts[each] for each in ("spanner", "forward topic", "dead-letter subscription")] == ["wrong"] * 3
    assert [verdicts[each] for each in ("schema", "shards", "worker", "pending", "ledger")] == ["unseen"] * 5
    assert "Traceback" not in ran.err


@pytest.mark.emulators
async def test_what_does_not_exist_is_told(environment: dict[str, str]) -> None:
    unknown = str(uuid.uuid4())

    assert_one_line(await nest_events(environment, "trace", unknown), 1, "nothing was committed under this id")
    assert_one_line(await nest_events(environment, "dead-letters", "show", "x"), 1, "no dead letter of 'x'")
    gone = environment | {"SPANNER_DATABASE": "gone"}
    assert_one_line(await nest_events(gone, "account"), 3, "the Spanner database gone does not exist")
    assert_one_line(await nest_events(gone, "dead-letters", "list"), 3, "the Spanner database gone does not exist")
    nowhere = environment | {"SPANNER_INSTANCE": "nowhere"}
    assert_one_line(await nest_events(nowhere, "reconcile", "--now"), 3, "the Spanner instance nowhere does not exist")
    nobody = await nest_events(environment, "trace", "--actor", "nobody")
    assert (nobody.code, nobody.out.partition(",")[0]) == (1, "No event matches")
    nothing = await nest_events(environment, "dead-letters", "replay", "--yes")
    assert (nothing.code, nothing.out) == (0, "No dead letters.\n")
    assert "Nothing was accepted" in (await nest_events(environment, "account")).out
