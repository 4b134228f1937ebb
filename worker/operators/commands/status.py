"""`nest-events status` as it is typed."""

from functools import partial

from worker.operators.options import AsJson


def status(*, as_json: AsJson = False) -> None:
    """The verdict on what goes on now: well, delayed or stopped, why, since when, whether anything is lost, what to do.

    With current rates, what is pending by reason, name and caller, dead events, and every process. Costs by what is
    pending and dead, not by what the tables hold. Exit code 1 where it is not well, 3 where that could not be told.

    \b
    nest-events status
    nest-events status --json
    """
    from worker.operators.run_command import run_command
    from worker.operators.state.status import show_status

    run_command(partial(show_status, as_json=as_json))
