"""The local stack's output for people."""

from rich.console import Console
from rich.table import Table

from deploy.local.demo import DemoResult
from deploy.local.journey import STAGES, journey_of
from deploy.local.stack import OPERATORS_ENVIRONMENT, Stack
from shared.gen.events.v1.event_logging_connect import EventLoggingServiceClient
from shared.gen.events.v1.event_logging_pb import LogEventRequest

_console = Console(soft_wrap=True, highlight=False)


def say(text: str) -> None:
    _console.print(text)


def addresses(stack: Stack) -> str:
    """The addresses, and a call that can be pasted."""
    page = stack.statsig_url or "no page: STATSIG_API_URL names a real Statsig"
    return "\n".join(
        [
            f"Ingress          {stack.ingress_url}",
            f"Received events  {page}",
            f"Logs             {stack.run_dir}",
            "",
            "Log an event:",
            '  curl --json \'{"eventName": "order_paid", "metadata": {"value": 12.5}}\' \\',
            f"    {stack.ingress_url}/events.v1.EventLoggingService/LogEvent",
            "",
            "Operate it, in another terminal:",
            f"  . {stack.run_dir / OPERATORS_ENVIRONMENT}; .venv/bin/nest-events doctor",
        ]
    )


async def show_first_event(stack: Stack) -> None:
    """Log one event through the generated client and show its stages."""
    async with EventLoggingServiceClient(stack.ingress_url) as client:
        answer = await client.log_event(LogEventRequest(event_name="stack_started"))
    say(f"\nLogged event {answer.event_id}\n")
    if stack.statsig_url is not None:
        journey = await journey_of(answer.event_id, stack)
        table = Table(box=None, show_header=False, pad_edge=False)
        before = journey[0].at
        for passed in journey:
            took = (passed.at - before).total_seconds() * 1000
            table.add_row(f"+{took:.1f} ms", STAGES[passed.stage])
            before = passed.at
        _console.print(table)
    say("\n" + addresses(stack) + "\n\nCtrl-C ends everything.")


def show_demo(result: DemoResult) -> None:
    table = Table("event", "sent", "refused", "stored", "delivered")
    for column in table.columns[1:]:
        column.justify = "right"
    counters = (result.sent, result.refused, result.stored, result.delivered)
    for kind in result.sent:
        table.add_row(kind, *(str(counter[kind]) for counter in counters))
    table.add_section()
    table.add_row("all", *(str(sum(counter.values())) for counter in counters))
    _console.print(table)
    for problem in result.problems:
        say(f"MISSING  {problem}")
    say("Something is missing." if result.problems else "Everything is where it belongs.")
