"""`nest-events doctor` as it is typed."""

from functools import partial

from worker.operators.options import AsJson


def doctor(*, as_json: AsJson = False) -> None:
    """Check settings, Spanner, schema, topics, subscriptions, the publish grant, Statsig, and whether events flow.

    Events flow where a worker runs, circuits are closed, no event has been pending for more than a minute (unless it
    is set aside), and the latest events are in the ledger; `nest-events status` shows more. Takes about six seconds at
    most; changes nothing and sends no event. Exit code 1 where something is wrong, 2 where the settings are.

    \b
    nest-events doctor
    """
    from worker.operators.doctor.diagnosis import diagnose
    from worker.operators.run_command import run_command

    run_command(partial(diagnose, as_json=as_json))
