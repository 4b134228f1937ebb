"""Statsig's SDK as its documentation uses it, against the stand-in; what would leave the machine is off."""

import json
import os
from collections.abc import Mapping

from statsig import StatsigEvent, StatsigOptions, StatsigUser, statsig

_BOOTSTRAP = json.dumps(
    {"has_updates": True, "time": 1, "feature_gates": [], "dynamic_configs": [], "layer_configs": []}
)
_NEVER_SECONDS = 10**8


def start_statsig() -> None:
    statsig.initialize(
        os.environ["STATSIG_SERVER_SECRET"],
        StatsigOptions(
            api=f"{os.environ['STATSIG_API_URL']}/",
            tier=os.environ["STATSIG_ENVIRONMENT"],
            bootstrap_values=_BOOTSTRAP,
            rulesets_sync_interval=_NEVER_SECONDS,
            idlists_sync_interval=_NEVER_SECONDS,
            disable_diagnostics=True,
            disable_ua_parser=True,
            disable_country_lookup=True,
        ),
    )


def send(event_id: str, event_name: str, metadata: Mapping[str, str]) -> None:
    """Log the event and flush the queue in one request; returns once that is answered."""
    event = StatsigEvent(StatsigUser("service:events"), event_name, metadata={**metadata, "event_id": event_id})
    statsig.log_event(event)
    statsig.flush()  # type: ignore[no-untyped-call] # as the SDK has it
