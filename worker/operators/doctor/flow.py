"""What `doctor` finds of the flow of events: the verdict of `status`, subject by subject; pure."""

from collections.abc import Iterator

from shared.process.process_states import Role
from worker.operators.doctor.findings import Finding, FindingLevel
from worker.operators.state.asking import Unknown
from worker.operators.state.processes import GONE_AFTER, last_of, running
from worker.operators.state.snapshot import Snapshot
from worker.operators.state.verdict import LATE_AFTER, judged
from worker.operators.terminal.durations import shown


def flow_findings(seen: Snapshot) -> list[Finding]:
    """Whether processes run, circuits are closed, events arrive in time and none is missing."""
    problems = judged(seen).problems
    found: list[Finding] = []
    for finding in _without_problems(seen):
        of_subject = [each for each in problems if each.subject == finding.subject]
        found += [Finding(each.subject, FindingLevel.WRONG, each.what, each.to_do) for each in of_subject] or [finding]
    return found


def _without_problems(seen: Snapshot) -> Iterator[Finding]:
    """What to say of each subject of which no problem was found."""
    processes = seen.processes
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
            detail = f"none runs, and with no caller none need; {last_of(processes, Role.INGRESS, seen.at)}"
            yield Finding("ingress", FindingLevel.UNSEEN, detail)
    if isinstance(seen.oldest, Unknown):
        yield Finding("pending", FindingLevel.UNSEEN, str(seen.oldest))
    else:
        yield Finding("pending", FindingLevel.OK, f"nothing waits for longer than {shown(LATE_AFTER)}")
    if isinstance(seen.recent, Unknown):
        yield Finding("ledger", FindingLevel.UNSEEN, str(seen.recent))
    elif seen.recent.looked_at:
        yield Finding("ledger", FindingLevel.OK, f"has each of {seen.recent.looked_at} events accepted lately")
    else:
        yield Finding("ledger", FindingLevel.UNSEEN, "nothing was accepted lately that could be compared")
