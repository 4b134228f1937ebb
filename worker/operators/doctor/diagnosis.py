"""`nest-events doctor`: prints the findings, and what to do about each that is wrong."""

from worker.operators.connections import Connections
from worker.operators.doctor.checks import examine
from worker.operators.doctor.findings import FindingLevel
from worker.operators.exit_codes import BAD_NEWS, OK
from worker.operators.terminal.output import say, show_json, show_table


async def diagnose(connections: Connections, *, as_json: bool) -> int:
    """Print all findings; BAD_NEWS where one is wrong."""
    findings = await examine(connections)
    wrong = sum(finding.level is FindingLevel.WRONG for finding in findings)
    unseen = sum(finding.level is FindingLevel.UNSEEN for finding in findings)
    documents = [finding.as_dict() for finding in findings]
    if as_json:
        show_json({"wrong": wrong, "unseen": unseen, "findings": documents})
    else:
        show_table(("what", "verdict", "found", "to do"), [tuple(document.values()) for document in documents])
        say(_summary(wrong, unseen))
    return BAD_NEWS if wrong else OK


def _summary(wrong: int, unseen: int) -> str:
    unchecked = f"; {unseen} could not be checked" if unseen else ""
    return f"{wrong} to fix{unchecked}." if wrong else f"Nothing is wrong{unchecked}."
