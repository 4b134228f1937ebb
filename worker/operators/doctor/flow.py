"""The verdict of `status` as findings of `doctor`, one subject after the other; pure."""

from collections.abc import Iterator

from shared.process.process_states import Role
from worker.operators.doctor.findings import Finding, FindingLevel
from worker.operators.state.asking import Unknown
from worker.operators.state.backlog import LATELY
from worker.operators.state.processes import GONE_AFTER, last_report, running
from worker.operators.state.snapshot import Snapshot
from worker.operators.state.verdict import LATE_AFTER, judge
from worker.operators.terminal.durations import shown


def flow_findings(snapshot: Snapshot) -> list[Finding]:
    """Whether processes run, circuits are closed, events arrive in time and none is missing."""
    problems = judge(snapshot).problems
    found: list[Finding] = []
    for finding in _without_problems(snapshot):
        of_subject = [each for each in problems if each.subject == finding.subject]
        found += [Finding(each.subject, FindingLevel.WRONG, each.what, each.to_do) for each in of_subject] or [finding]
    return found


def _without_problems(snapshot: Snapshot) -> Iterator[Finding]:
    """A finding for each subject, as it is where that subject has no problem."""
    processes = snapshot.processes
    if isinstance(processes, Unknown):
        for subject in ("worker", "circuit", "ingress"):
            yield Finding(subject, FindingLevel.UNSEEN, str(processes))
    else:
        workers, ingresses = running(processes, Role.WORKER), running(processes, Role.INGRESS)
        yield Finding("worker", FindingLevel.OK, f"{len(workers)} seen within {shown(GONE_AFTER)}")
        if workers:
            yield Finding("circuit", FindingLevel.OK, "closed")
        if ingresses:
            yield Finding("ingress", FindingLevel.OK, f"{len(ingresses)} seen within {shown(GONE_AFTER)}")
        else:
            detail = f"none runs, and without calls none is needed; {last_report(processes, Role.INGRESS, snapshot.at)}"
            yield Finding("ingress", FindingLevel.UNSEEN, detail)
    if isinstance(snapshot.oldest, Unknown):
        yield Finding("pending", FindingLevel.UNSEEN, str(snapshot.oldest))
    else:
        yield Finding(
            "pending", FindingLevel.OK, f"no event has waited longer than {shown(LATE_AFTER)}, except those set aside"
        )
    if isinstance(snapshot.recent, Unknown):
        yield Finding("ledger", FindingLevel.UNSEEN, str(snapshot.recent))
    elif snapshot.recent.looked_at:
        detail = f"has a row for each of {snapshot.recent.looked_at} events sampled from the last {shown(LATELY)}"
        yield Finding("ledger", FindingLevel.OK, detail)
    else:
        detail = f"nothing to compare: no event was accepted for forwarding within the last {shown(LATELY)}"
        yield Finding("ledger", FindingLevel.UNSEEN, detail)
