"""The name under which an event carries its trace. `shared/telemetry/tracing.py` reads and continues such traces.

Rows are committed in groups and messages are sent in batches, so no task works for one call alone, and the current span
belongs to none of them. The W3C `traceparent` of the call is therefore part of the event's data: every later step, a
replay days later too, continues the trace from there.
"""

from typing import Final

TRACEPARENT: Final = "traceparent"
"""The message attribute, the key in `_eventLog`, and the field of a log line (w3.org/TR/trace-context)."""
