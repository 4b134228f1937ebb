"""`nest-events doctor` as it is typed."""

from functools import partial

from worker.operators.options import AsJson


def doctor(*, as_json: AsJson = False) -> None:
    """Look at settings, Spanner, schema, topics, subscriptions, grants, Statsig, and whether events flow.

    Events flow where a worker runs, circuits are closed, nothing is pending for longer than a minute, and what was
    accepted lately is in the ledger; `nest-events status` tells more of it. Takes six seconds at the most; changes
    and sends nothing. Exit code 1 where anything is wrong, 2 where the settings are.

    \b
    nest-events doctor
    """
    from worker.operators.doctor.diagnosis import diagnose
    from worker.operators.run_command import run_command

    run_command(partial(diagnose, as_json=as_json))
