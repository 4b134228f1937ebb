"""`nest-events warnings`: calls over a socket, counted by two ingresses, summed for operators."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest

from deploy.local.emulators import Emulators
from shared.events.complaints import OTHER, Complaint, ComplaintKind, HourlyCount
from shared.process import reporting
from tests.support.emulators.seeded_events import SeededEvents
from tests.support.operators.nest_events import nest_events
from tests.support.wire.http1 import JSON, LOG_EVENTS, connection
from tests.support.wire.ingress import running_ingress
from tests.support.wire.tcp_proxy import Mode, tcp_proxy
from worker.operators.complaints.advice import advice_on

pytestmark = pytest.mark.emulators

CHECKOUT, SEARCH = "checkout@example.com", "search@example.com"
GOOD = {"event_name": "order_paid"}
CUT = GOOD | {"metadata": {"note": "x" * 5000}}
NAMELESS = {"event_name": " "}
FUTURE = {"event_name": "order_paid", "event_ts": "2999-01-01T00:00:00Z"}
MALFORMED = {"event_name": 17}


def as_caller(address: str) -> dict[str, str]:
    return JSON | {"x-goog-authenticated-user-email": f"accounts.google.com:{address}"}


def lines(document: Any) -> dict[tuple[Any, ...], int]:
    return {
        (line["kind"], line["caller"], line["event_name"], line["reason"]): line["events"]
        for line in document["most_frequent"]
    }


async def test_two_ingresses_count_warnings_and_refusals_of_both_calls_and_the_command_sums_them(
    environment: dict[str, str],
) -> None:
    async with (
        running_ingress(environment) as one,
        running_ingress(environment) as two,
        connection(one.port) as to_one,
        connection(two.port) as to_two,
    ):
        for event, status in ((GOOD, 200), (CUT, 200), (CUT, 200), (NAMELESS, 400), (FUTURE, 400)):
            assert (await to_one.call(event, as_caller(CHECKOUT))).status == status
        assert (await to_one.call(b"{", as_caller(CHECKOUT))).status == 400
        assert (await to_one.call(b"{", as_caller(CHECKOUT), path=LOG_EVENTS)).status == 400
        many = {"events": [GOOD, CUT, NAMELESS, GOOD, MALFORMED, FUTURE, FUTURE]}
        assert (await to_two.call(many, as_caller(CHECKOUT), path=LOG_EVENTS)).status == 200
        assert (await to_two.call({"events": [GOOD] * 501}, as_caller(SEARCH), path=LOG_EVENTS)).status == 400
        for key in ("first", "second"):
            await to_two.call(GOOD | {"idempotency_key": "k", "actor_id": key})
    # The end of an ingress writes what it counted last.
    told = (await nest_events(environment, "warnings", "--json")).json

    assert lines(told) == {
        ("refusal", SEARCH, None, "events:max_items"): 501,
        ("warning", CHECKOUT, "order_paid", "metadata.note:statsig_metadata_cut"): 3,
        ("refusal", CHECKOUT, "order_paid", "event_ts:not_in_future"): 3,
        ("refusal", CHECKOUT, None, "event_name:required"): 2,
        ("refusal", CHECKOUT, None, "malformed_request"): 2,
        ("refusal", CHECKOUT, None, "event_name:type"): 1,
        ("refusal", None, "order_paid", "idempotency_conflict"): 1,
    }
    assert (told["warnings"], told["refusals"], told["other"], told["not_listed"]) == (3, 510, 0, 0)


async def test_an_outage_of_spanner_loses_nothing_that_was_counted(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporting, "INTERVAL_SECONDS", 0.05)
    async with (
        tcp_proxy(environment["SPANNER_EMULATOR_HOST"]) as proxy,
        running_ingress(environment, SPANNER_EMULATOR_HOST=proxy.address, COMMIT_TIMEOUT_SECONDS="0.4") as ingress,
        connection(ingress.port) as caller,
    ):
        assert (await caller.call(CUT)).status == 200
        for mode in (Mode.REFUSE, Mode.BLACKHOLE, Mode.DROP_RESPONSE):
            await proxy.switch(mode)
            assert (await caller.call(FUTURE | {"event_name": mode.name})).status == 400
            assert (await caller.call(GOOD)).status == 503
        await proxy.switch(Mode.PASS)
        with anyio.fail_after(20):
            while (told := (await nest_events(environment, "warnings", "--json")).json)["refusals"] < 3:
                await anyio.sleep(0.05)

    assert (told["warnings"], told["refusals"]) == (1, 3)
    assert ("refusal", None, "order_paid", "storage_unavailable") not in lines(told)


def counts(*given: tuple[Complaint, int], hours_ago: int = 0) -> list[HourlyCount]:
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=hours_ago)
    return [HourlyCount(hour, place, complaint, events) for place, (complaint, events) in enumerate(given)]


async def test_people_read_what_to_mend_how_much_is_not_named_and_what_is_not_listed(
    environment: dict[str, str], seeded: SeededEvents
) -> None:
    cut = Complaint(ComplaintKind.WARNING, CHECKOUT, "order_paid", "metadata.note:statsig_metadata_cut")
    nameless = Complaint(ComplaintKind.REFUSAL, "", "", "event_name:required")
    other = Complaint(ComplaintKind.REFUSAL, SEARCH, OTHER, "event_name:max_length")
    empty = await nest_events(environment, "warnings")
    await seeded.complaints.write(str(uuid.uuid4()), counts((cut, 30), (nameless, 1), (other, 7)))
    await seeded.complaints.write(str(uuid.uuid4()), counts((cut, 12), hours_ago=40))

    well = await nest_events(environment, "warnings")
    short = await nest_events(environment, "warnings", "--since", "7d", "--limit", "1")
    of_nobody = await nest_events(environment, "warnings", "--caller", "(none)", "--kind", "refusal")
    of_search = await nest_events(environment, "warnings", "--caller", SEARCH)
    none = await nest_events(environment, "warnings", "--caller", CHECKOUT, "--kind", "refusal")

    assert empty.code == 0, empty.err
    assert {ran.code for ran in (empty, well, short, of_nobody, of_search, none)} == {0}
    assert empty.out.startswith("No warnings and no refusals since ")
    assert none.out.startswith("No warning or refusal matches since ")
    assert well.out.startswith("30 warnings and 8 refusals since ")
    assert well.out.splitlines()[2:6] == [
        "caller\tevent name\tkind\treason\tevents\tto mend",
        f"{CHECKOUT}\torder_paid\twarning\tmetadata.note:statsig_metadata_cut\t30\t{advice_on(cut.reason)}",
        f"{SEARCH}\t(other)\trefusal\tevent_name:max_length\t7\tshorten the field",
        "(none)\t(none)\trefusal\tevent_name:required\t1\tsend a name that is not blank",
    ]
    assert "7 of them are (other): " in well.out
    assert "\t42\t" in short.out
    assert "... and 2 more; --limit lists more." in short.out
    assert of_nobody.out.startswith("1 refusal since ")
    assert "7 of them are (other): " in of_search.out
    assert "Not all of these need be of the chosen caller" in of_search.out


async def test_without_spanner_it_is_not_known(environment: dict[str, str], emulators: Emulators) -> None:
    async with tcp_proxy(emulators.spanner_host) as proxy:
        await proxy.switch(Mode.REFUSE)
        ran = await nest_events(environment | {"SPANNER_EMULATOR_HOST": proxy.address}, "warnings")

    assert (ran.code, ran.out) == (3, "")
