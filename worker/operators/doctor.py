"""`nest-events doctor`: each dependency and setting: well, or what is wrong and what to do."""

from dataclasses import asdict

from worker.operators.checks import examine
from worker.operators.connections import Connections
from worker.operators.exits import BAD_NEWS, OK
from worker.operators.findings import Verdict
from worker.operators.terminal import say, show_json, show_table


async def diagnose(connections: Connections, *, as_json: bool) -> int:
    """All findings; the exit code says whether one is wrong."""
    findings = await examine(connections)
    wrong = sum(finding.verdict is Verdict.WRONG for finding in findings)
    if as_json:
        show_json({"wrong": wrong, "findings": [asdict(finding) for finding in findings]})
    else:
        show_table(("what", "verdict", "found", "to do"), [tuple(asdict(finding).values()) for finding in findings])
        say("All is well." if not wrong else f"{wrong} to mend.")
    return BAD_NEWS if wrong else OK
