"""Operators' rules as callers meet them: refused with the reason, or stored only with a warning."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import pytest
import pytest_asyncio

from shared.events.rules import Match, Rule, RuleAction
from shared.process.settings import IngressSettings, from_environment
from shared.spanner.connection import open_database
from shared.spanner.rules import SpannerRuleTable
from shared.spanner.transactions import Transactions
from tests.support.sample_rules import AUDIT, sample_rule
from tests.support.wire.http1 import LOG_EVENTS, Connection, connection
from tests.support.wire.ingress import Ingress, Store, running_ingress
from tests.support.wire.refusals import assert_error

pytestmark = [pytest.mark.emulators, pytest.mark.asyncio(loop_scope="module")]

WHY = "use orders-v2 \N{EM DASH} see #events"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rules(module_environment: dict[str, str]) -> AsyncIterator[SpannerRuleTable]:
    async with open_database(from_environment(IngressSettings, module_environment)) as database:
        yield SpannerRuleTable(Transactions(database, one_at_a_time=True), timeout_seconds=10)


async def add(rules: SpannerRuleTable, action: RuleAction, name: str) -> Rule:
    rule = sample_rule(action, match=Match(event_name=name), why=WHY)
    await rules.add([rule], AUDIT)
    return rule


async def until(caller: Connection, event: dict[str, Any], holds: Callable[[Any], bool]) -> Any:
    with anyio.fail_after(10):
        while not holds(answer := await caller.call(event)):
            await anyio.sleep(0.05)
    return answer


async def test_a_refused_event_is_answered_with_the_rules_text_and_not_stored(
    ingress: Ingress, store: Store, rules: SpannerRuleTable
) -> None:
    rule = await add(rules, RuleAction.REFUSE, "refused")
    event = {"event_name": "refused", "idempotency_key": "refused-1"}
    async with connection(ingress.port) as caller:
        await until(caller, event | {"idempotency_key": ""}, lambda answer: answer.status != 200)
        written = len(await store.rows("e.event_name = 'refused'"))

        answer = await caller.call(event)

        found = assert_error(answer, "failed_precondition")
        assert answer.status == 400
        assert found.broken == set()
        assert answer.json()["message"] == f"rule {rule.rule_id} of an operator refuses this event: {WHY}"
        assert (await caller.call({"event_name": "other"})).status == 200
        assert len(await store.rows("e.event_name = 'refused'")) == written

        await rules.remove([rule.rule_id], "bob", AUDIT)
        again = await until(caller, event, lambda answer: answer.status == 200)
        assert "duplicate" not in again.json(), "the refused call wrote nothing under the key"


async def test_in_a_batch_only_the_events_of_the_rule_are_refused(ingress: Ingress, rules: SpannerRuleTable) -> None:
    await add(rules, RuleAction.REFUSE, "refused in a batch")
    events = {"events": [{"event_name": "good"}, {"event_name": "refused in a batch"}, {"event_name": "good"}]}
    async with connection(ingress.port) as caller:
        await until(caller, {"event_name": "refused in a batch"}, lambda answer: answer.status != 200)
        answer = await caller.call(events, path=LOG_EVENTS)
    first, middle, last = answer.json()["outcomes"]
    assert "logged" in first
    assert "logged" in last
    assert middle["error"]["code"] == "failed_precondition"
    assert middle["error"]["message"].endswith(WHY)
    assert "retryInfo" not in middle["error"]


async def test_a_stored_only_event_is_answered_with_a_warning_and_has_no_ledger_row(
    ingress: Ingress, store: Store, rules: SpannerRuleTable
) -> None:
    rule = await add(rules, RuleAction.STORE_ONLY, "stored only")
    event = {"event_name": "stored only"}
    async with connection(ingress.port) as caller:
        answer = await until(caller, event, lambda answer: "warnings" in answer.json())
        keyed = event | {"idempotency_key": "stored-1"}
        first, second = await caller.call(keyed), await caller.call(keyed)

    (warning,) = answer.json()["warnings"]
    assert warning == {
        "field": "forward_to_statsig",
        "reason": "stored_only",
        "description": f"rule {rule.rule_id} of an operator stores such events and does not forward them: {WHY}",
    }
    row = await store.row(answer.json()["eventId"])
    assert (row["forward_to_statsig"], row["state"]) == (False, None)
    assert second.json() == first.json() | {"duplicate": True}, "the first answer may be what was lost"
    assert second.json()["warnings"] == [warning]


async def test_a_start_knows_the_rules_before_its_first_call(
    module_environment: dict[str, str], rules: SpannerRuleTable
) -> None:
    await add(rules, RuleAction.REFUSE, "refused from the start")
    async with running_ingress(module_environment) as second, connection(second.port) as caller:
        assert_error(await caller.call({"event_name": "refused from the start"}), "failed_precondition")
