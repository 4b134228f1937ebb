"""The grants of deploy/terraform are those that the code's calls need, and none beyond.

One module, although a long one: nearly half of it are the tables of permissions with the calls behind them, and one
test goes through all of them.
"""

import re
from itertools import product

import pytest

from deploy import schema
from deploy.local.stack import REPOSITORY
from shared.spanner.event_rows import EVENT_COLUMNS
from tests.support.parsers.hcl import read_module

MODULE = read_module(REPOSITORY / "deploy" / "terraform")

# Permission -> the calls behind it, as they are written in the code, by identity.
SPANNER: dict[str, dict[str, tuple[str, ...]]] = {
    "spanner.sessions.create": {
        # The client's own, with its first call; it deletes none (seen in the emulator's log of requests).
        "ingress": ("open_database(",),
        "worker": ("open_database(",),
        "operator": ("open_database(",),
        "eraser": ("open_database(",),
        "export": (),
    },
    "spanner.databases.select": {
        "ingress": ("snapshot.execute_sql(",),
        "worker": ("transaction.execute_sql(", "snapshot.execute_sql("),
        "operator": ("snapshot.execute_sql(",),
        "eraser": ("snapshot.execute_sql(",),
        "export": (),
    },
    "spanner.databases.read": {
        "ingress": ("snapshot.read(",),
        "worker": ("snapshot.read(",),  # not called; the two share one custom role with it
        "operator": ("snapshot.read(",),
        "eraser": ("snapshot.read(",),
        "export": (),
    },
    "spanner.databases.write": {
        "ingress": ("insert(batch,", "batch.insert_or_update("),
        "worker": (
            "mutations.update(",
            "transaction.update(",
            "insert(transaction,",
            "batch.insert_or_update(",
        ),
        "operator": ("mutations.update(", "update(transaction,"),
        "eraser": ("transaction.delete(", "transaction.insert_or_update("),
    },
    "spanner.databases.beginOrRollbackReadWriteTransaction": {
        "ingress": ("_database.batch(",),
        "worker": ("database.run_in_transaction(",),
        "operator": ("database.run_in_transaction(",),
        "eraser": ("_transactions.run(",),
    },
    "spanner.databases.beginReadOnlyTransaction": {
        "operator": ("snapshot(multi_use=True)",),
        "eraser": ("snapshot(multi_use=True)",),
        "export": (),
    },
    # The export reads the table whole, in partitions (tests/integration/test_export.py).
    "spanner.databases.partitionRead": {"export": ()},
    "spanner.databases.partitionQuery": {"export": ()},
}

# (database role, table) -> what it may do, and the calls behind each. A role may do nothing else.
ROWS: dict[tuple[str, str], dict[str, tuple[str, ...]]] = {
    ("ingress", "NestEventLog"): {
        "INSERT": ("insert(batch, LOG_TABLE,",),
        "SELECT(event_id, request_digest, write_id)": ('("event_id", "request_digest", "write_id")',),
    },
    ("ingress", "NestEventForward"): {"INSERT": ("insert(batch, LEDGER_TABLE,",)},
    ("ingress", "NestEventProcess"): {
        "INSERT": ("insert_or_update(PROCESSES_TABLE,",),
        "UPDATE": ("insert_or_update(PROCESSES_TABLE,",),
    },
    ("worker", "NestEventLog"): {
        f"SELECT({', '.join(EVENT_COLUMNS)})": (
            "_rows(transaction, LOG_TABLE, table.EVENT_COLUMNS,",
            'read_by_key(transaction, LOG_TABLE, ("event_id", "caller"),',
        ),
    },
    ("worker", "NestEventForward"): {
        "SELECT": ("read_by_key(transaction, LEDGER_TABLE, table.READ_FOR_CLAIM,",),
        "UPDATE": ("mutations.update(buffer, LEDGER_TABLE,",),
    },
    ("worker", "NestEventDeadLetter"): {
        # Collecting looks for what is there already; a gauge counts what is open.
        "SELECT": ("_read(transaction, table.PLACE_COLUMNS,", "self._table.count("),
        "INSERT": ("insert(transaction, DEAD_LETTER_TABLE,",),
        "UPDATE": ("update(transaction, DEAD_LETTER_TABLE, table.CLOSED_COLUMNS, found.closings)",),
    },
    ("worker", "NestEventProcess"): {
        "INSERT": ("insert_or_update(PROCESSES_TABLE,",),
        "UPDATE": ("insert_or_update(PROCESSES_TABLE,",),
    },
    ("operator", "NestEventLog"): {"SELECT": ("read_by_key(snapshot, LOG_TABLE, columns,",)},
    ("operator", "NestEventForward"): {
        "SELECT": ("read_by_key(snapshot, LEDGER_TABLE, _STATE_COLUMNS,",),
        "INSERT": ("mutations.insert(transaction, LEDGER_TABLE,",),
        "UPDATE": ("_update(transaction, table.REOPENED_COLUMNS,",),
    },
    ("operator", "NestEventDeadLetter"): {
        "SELECT": ("letters.open(",),
        "UPDATE": ("close_open(transaction,",),
    },
    ("operator", "NestEventProcess"): {"SELECT": ("FROM {PROCESSES_TABLE}",)},
    ("ingress", "NestEventRule"): {"SELECT": ("self._table.read()",)},
    ("worker", "NestEventRule"): {
        "SELECT": ("self._table.read()",),
        "UPDATE(sweeping_until, swept_at)": ("begin_sweep(", "end_sweep("),
    },
    ("operator", "NestEventRule"): {
        "SELECT": ("rules.history()",),
        "INSERT": ("rules.add(",),
        "UPDATE": ("rules.remove(",),
    },
    ("operator", "NestEventAudit"): {"SELECT": ("audit_trail.latest(",), "INSERT": ("add_entry(",)},
    ("ingress", "NestEventComplaint"): {
        "INSERT": ("insert_or_update(COMPLAINT_TABLE,",),
        "UPDATE": ("insert_or_update(COMPLAINT_TABLE,",),
    },
    ("operator", "NestEventComplaint"): {"SELECT": ("complaints.summed(",)},
    ("worker", "NestEventErased"): {"SELECT": ("erased_among(transaction,",)},
    # `reconcile` claims what no message can be made of.
    ("operator", "NestEventErased"): {"SELECT": ("erased_among(transaction,",)},
    ("eraser", "NestEventLog"): {
        "SELECT(event_id, actor_id, ingested_at, forward_to_statsig, log_shard)": (
            'read_by_key(reader, LOG_TABLE, ("event_id", "forward_to_statsig"),',
            "SELECT event_id, ingested_at {_AFTER} AND ingested_at <= @reached AND actor_id = @actor",
            "WHERE log_shard = @shard",
        ),
        "DELETE": ("transaction.delete(LOG_TABLE,",),
    },
    ("eraser", "NestEventForward"): {
        "SELECT(event_id, state, claim_token, claimed_until)": (
            "read_by_key(reader, LEDGER_TABLE, _LedgerRow._fields,",
        ),
        "UPDATE(claim_token, claimed_until)": ("mutations.update(transaction, LEDGER_TABLE, CLAIM_COLUMNS, taken)",),
    },
    ("eraser", "NestEventDeadLetter"): {
        "SELECT(subject, message_id, event_id)": ("reader.read(DEAD_LETTER_TABLE, columns, keys, _LETTER_INDEX,",),
        "DELETE": ("transaction.delete(DEAD_LETTER_TABLE,",),
    },
    ("eraser", "NestEventErased"): {
        "INSERT": ("transaction.insert_or_update(ERASED_TABLE,",),
        "UPDATE": ("transaction.insert_or_update(ERASED_TABLE,",),
    },
    ("eraser", "NestEventAudit"): {"INSERT": ("audit_trail.write(",)},
    ("export", "NestEventLog"): {"SELECT": ()},
}

ROLE_PERMISSIONS = {
    "roles/pubsub.publisher": {"pubsub.topics.publish"},
    "roles/pubsub.subscriber": {"pubsub.subscriptions.consume"},
    # What matters of it on a single topic or subscription.
    "roles/pubsub.viewer": {"pubsub.topics.get", "pubsub.subscriptions.get"},
}

# (identity, resource, role) -> the calls behind it. An empty tuple is Pub/Sub's own work.
PUBSUB: dict[tuple[str, str, str], tuple[str, ...]] = {
    ("ingress", "topic forward", "roles/pubsub.publisher"): ("_client.publish(",),
    ("worker", "subscription forward", "roles/pubsub.subscriber"): (
        "_client.pull(",
        "_client.acknowledge(",
        "_client.modify_ack_deadline(",
    ),
    ("worker", "topic forward", "roles/pubsub.publisher"): ("forward_topic=publisher(settings.forward_topic)",),
    ("worker", "topic dead_letter", "roles/pubsub.publisher"): ("publisher(settings.dead_letter_topic)",),
    ("worker", "subscription dead_letter", "roles/pubsub.subscriber"): ("settings.dead_letter_subscription",),
    ("operator", "topic forward", "roles/pubsub.publisher"): ("settings.forward_topic",),
    ("operator", "topic forward", "roles/pubsub.viewer"): ("publisher_client.get_topic(",),
    ("operator", "topic dead_letter", "roles/pubsub.viewer"): ("publisher_client.get_topic(",),
    ("operator", "subscription forward", "roles/pubsub.viewer"): ("subscriber_client.get_subscription(",),
    ("operator", "subscription dead_letter", "roles/pubsub.viewer"): ("subscriber_client.get_subscription(",),
    ("pubsub", "topic dead_letter", "roles/pubsub.publisher"): (),
    ("pubsub", "subscription forward", "roles/pubsub.subscriber"): (),
}

# (identity, role) on the project -> the calls behind it: what makes the exporter, and what opens it in each process.
TELEMETRY: dict[tuple[str, str], tuple[str, ...]] = {
    (identity, role): (exporter, *opening)
    for identity, opening in (
        ("ingress", ('run_process("ingress", ', "open_telemetry(settings, process=process)")),
        ("worker", ('run_process("worker", ', "open_telemetry(settings, process=process)")),
        ("operator", ('open_telemetry(settings, process="operator"',)),
    )
    for role, exporter in (
        ("roles/telemetry.tracesWriter", "OTLPSpanExporter(f"),
        ("roles/telemetry.metricsWriter", "OTLPMetricExporter(f"),
    )
}

# Every call of a Google client that the code makes. A new one wants a permission above, and then its line here.
CALLS = {
    "acknowledge",
    "batch",
    "delete",
    "execute_sql",
    "get_subscription",
    "get_topic",
    "insert_or_update",
    "modify_ack_deadline",
    "publish",
    "pull",
    "read",
    "run_in_transaction",
    "snapshot",
    # Asks which permissions one has; everybody may.
    "test_iam_permissions",
    "update",
}


def code(*folders: str) -> str:
    return "\n".join(
        path.read_text()
        for folder in folders
        for path in (REPOSITORY / folder).rglob("*.py")
        if "gen" not in path.parts
    )


def identity(member: str) -> str:
    if "gcp-sa-pubsub" in member:
        return "pubsub"
    found = re.search(r"google_service_account\.(\w+)\.member", member)
    assert found, member
    return found[1]


def spanner_grants() -> set[tuple[str, str]]:
    """(permission, identity), through the custom roles."""
    found: set[tuple[str, str]] = set()
    text = (REPOSITORY / "deploy" / "terraform" / "identities.tf").read_text()
    names = re.findall(r'account = "(\w+)",\s*role = google_project_iam_custom_role\.(\w+)\[0\]\.id', text)
    for account, role in names:
        body = MODULE.resources[f"google_project_iam_custom_role.{role}"]
        found |= {(permission, account) for permission in body["permissions"]}
    return found


def test_spanner_permissions_are_those_that_calls_need() -> None:
    needed = {(permission, account) for permission, accounts in SPANNER.items() for account in accounts}
    assert spanner_grants() == needed


@pytest.mark.parametrize("permission", sorted(SPANNER))
def test_every_spanner_permission_has_its_call(permission: str) -> None:
    everything = code("ingress", "worker", "shared")
    for calls in SPANNER[permission].values():
        for call in calls:
            assert call in everything, call


def row_grants() -> dict[tuple[str, str], set[str]]:
    """(database role, table) -> privileges, from the statements of deploy/spanner/roles."""
    found: dict[tuple[str, str], set[str]] = {}
    for statement in schema.statements(schema.DDL_DIRECTORY / "roles"):
        if grant := re.fullmatch(r"GRANT (.+) ON TABLE (.+) TO ROLE (.+)", " ".join(statement.split())):
            privileges = re.findall(r"\w+(?:\([^)]*\))?", grant[1])
            for role, table in product(grant[3].split(", "), grant[2].split(", ")):
                found.setdefault((role, table), set()).update(privileges)
    return found


def test_what_database_roles_may_do_with_rows_is_what_calls_need() -> None:
    assert row_grants() == {place: set(calls) for place, calls in ROWS.items()}


@pytest.mark.parametrize("place", sorted(ROWS))
def test_every_grant_on_rows_has_its_call(place: tuple[str, str]) -> None:
    folders = {"ingress": "ingress", "worker": "worker", "export": "shared"}
    folder = folders.get(place[0], "worker/operators")
    for call in (call for calls in ROWS[place].values() for call in calls):
        assert call in code(folder, "shared"), call


def pubsub_grants() -> set[tuple[str, str, str]]:
    found: set[tuple[str, str, str]] = set()
    for kind in ("topic", "subscription"):
        for body in MODULE.of_type(f"google_pubsub_{kind}_iam_member").values():
            if "for_each" in body:
                names = [*body["for_each"]]
            else:
                match = re.search(rf"google_pubsub_{kind}\.(\w+)\.name", body[kind])
                assert match
                names = [match[1]]
            found |= {(identity(body["member"]), f"{kind} {name}", body["role"]) for name in names}
    return found


def test_pubsub_grants_are_those_that_calls_need() -> None:
    assert pubsub_grants() == PUBSUB.keys()
    assert {role for _, _, role in PUBSUB} == ROLE_PERMISSIONS.keys()


@pytest.mark.parametrize("grant", sorted(PUBSUB))
def test_every_pubsub_grant_has_its_call(grant: tuple[str, str, str]) -> None:
    account, _, _ = grant
    folder = {"ingress": "ingress", "worker": "worker", "operator": "worker/operators", "pubsub": "shared"}[account]
    for call in PUBSUB[grant]:
        assert call in code(folder, "shared"), call


def test_who_exports_may_write_traces_and_metrics_and_nothing_else_on_the_project() -> None:
    grants = str(MODULE.locals["export_grants"])
    (body,) = MODULE.of_type("google_project_iam_member").values()

    assert set(re.findall(r'account = "(\w+)", role = "([\w/.]+)"', grants)) == TELEMETRY.keys()
    assert "local.exports_to_google" in grants, "a collector of one's own wants no grant"
    assert (body["for_each"], body["role"]) == ("${local.export_grants}", "${each.value.role}")


@pytest.mark.parametrize("grant", sorted(TELEMETRY))
def test_every_telemetry_grant_has_its_call(grant: tuple[str, str]) -> None:
    folder = {"ingress": "ingress", "worker": "worker", "operator": "worker/operators"}[grant[0]]
    for call in TELEMETRY[grant]:
        assert call in code(folder, "shared"), call


def test_the_apis_that_telemetry_needs_are_on() -> None:
    on = {"telemetry.googleapis.com", "cloudtrace.googleapis.com", "monitoring.googleapis.com"}
    assert all(api in str(MODULE.resources["google_project_service.used"]["for_each"]) for api in on)


def test_no_call_of_a_google_client_is_without_a_line_here() -> None:
    receivers = r"(?:_?client|_publisher|\w*_client|database|_database|snapshot|transaction|batch)"
    called = set(re.findall(rf"\b{receivers}\.(\w+)\(", code("ingress", "worker", "shared")))
    # Opening and closing is no request; the rest is names and local things that look alike.
    local = {"close", "database", "instance", "topic_path", "subscription_path", "decide", "hand_over"}
    # Ours: `nest-events log` over Connect, and a client of Statsig.
    local |= {"log_event", "send"}
    # A snapshot of the service, as `nest-events status` takes it and the console keeps it.
    local |= {"rules_of", "latest"}
    assert called - local == CALLS


def test_dead_lettering_has_the_two_grants_that_it_needs() -> None:
    ours = {grant for grant in pubsub_grants() if grant[0] == "pubsub"}
    assert ours == {
        ("pubsub", "topic dead_letter", "roles/pubsub.publisher"),
        ("pubsub", "subscription forward", "roles/pubsub.subscriber"),
    }


def test_no_grant_is_wider_than_one_resource_or_wider_than_a_role() -> None:
    grants = [body for address, body in MODULE.resources.items() if "_iam_" in address and "role" in body]
    assert {address.split(".")[0] for address in MODULE.resources if "_iam_" in address} == {
        "google_cloud_run_v2_job_iam_member",
        "google_cloud_run_v2_service_iam_member",
        "google_project_iam_custom_role",
        "google_project_iam_member",  # telemetry alone: there is nothing smaller to grant it on
        "google_pubsub_subscription_iam_member",
        "google_pubsub_topic_iam_member",
        "google_secret_manager_secret_iam_member",
        "google_service_account_iam_member",
        "google_spanner_database_iam_member",
    }
    forbidden = re.compile(r"roles/(owner|editor|viewer|.*[aA]dmin|spanner\.databaseUser)$")
    assert [body["role"] for body in grants if forbidden.search(body["role"])] == []


def test_nobody_may_change_the_schema() -> None:
    granted = [
        permission
        for body in MODULE.of_type("google_project_iam_custom_role").values()
        for permission in body["permissions"]
    ]
    assert [permission for permission in granted if re.search(r"[dD]dl|drop|[sS]etIam|create(?!$)", permission)] == []


def test_who_may_call_is_named_by_variable_and_never_everybody() -> None:
    invokers = MODULE.of_type("google_cloud_run_v2_service_iam_member")
    assert {body["member"] for body in invokers.values()} == {
        "${each.value}",
        "${google_service_account.operator.member}",
    }
    assert "allUsers" in str(MODULE.variables["invokers"]["validation"])
    assert MODULE.resources["google_cloud_run_v2_service.ingress"]["ingress"] == "INGRESS_TRAFFIC_INTERNAL_ONLY"
