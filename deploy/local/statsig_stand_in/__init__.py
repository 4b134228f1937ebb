"""The local stand-in for Statsig: logs the events that it accepts, misbehaves on command, shows a page.

Why it has an HTTP server of its own: connection.py.
"""

from deploy.local.statsig_stand_in.event_log import LoggedEvent, read_log
from deploy.local.statsig_stand_in.request_log import LoggedRequest, read_requests
from deploy.local.statsig_stand_in.rules import Rule
from deploy.local.statsig_stand_in.stand_in import StandIn, running_stand_in

__all__ = ["LoggedEvent", "LoggedRequest", "Rule", "StandIn", "read_log", "read_requests", "running_stand_in"]
