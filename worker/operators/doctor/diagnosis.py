"""`nest-events doctor`: each dependency and setting, and the flow of events: well, or what is wrong and what to do."""

from dataclasses import asdict

from worker.operators.connections import Connections
from worker.operators.doctor.checks import examine
from worker.operators.doctor.findings import FindingLevel
from worker.operators.exit_codes import BAD_NEWS, OK
from worker.operators.terminal.output import say, show_json, show_table


async def diagnose(connections: Connections, *, as_json: bool) -> int:
    """All findings; the exit code says whether one is wrong."""
    findings = await examine(connections)
    wrong = sum(finding.verdict is FindingLevel.WRONG for finding in findings)
    unseen = sum(finding.verdict is FindingLevel.UNSEEN for finding in findings)
    if as_json:
        show_json({"wrong": wrong, "unseen": unseen, "findings": [asdict(finding) for finding in findings]})
    else:
        show_table(("what", "verdict", "found", "to do"), [tuple(asdict(finding).values()) for finding in findings])
        say(_summary(wrong, unseen))
    return BAD_NEWS if wrong else OK


def _summary(wrong: int, unseen: int) -> str:
    could_not = f"; {unseen} could not be seen from here" if unseen else ""
    return f"{wrong} to mend{could_not}." if wrong else f"Nothing is wrong{could_not}."
