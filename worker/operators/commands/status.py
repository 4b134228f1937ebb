"""`nest-events status` as it is typed."""

from functools import partial

from worker.operators.options import AsJson


def status(*, as_json: AsJson = False) -> None:
    """Show whether all is well: what is wrong, since when, whether anything is lost, and what to do.

    Also shows current rates, pending events by reason, name and caller, dead events, and every process. The cost
    depends on what is pending and dead, not on the size of the tables. Exit code 1 where something is wrong, 3 where
    nothing is known to be wrong but an answer is missing.

    \b
    nest-events status
    nest-events status --json
    """
    from worker.operators.run_command import run_command
    from worker.operators.state.status import show_status

    run_command(partial(show_status, as_json=as_json))
