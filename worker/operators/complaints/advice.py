"""What a caller has to mend, by the reason of a complaint; pure. proto/events/v1 has the rules in full."""

from typing import Final

from shared.events.complaints import OTHER, rule_of
from shared.events.statsig_projection import OBJECT_FIELD_LIMIT, OWN_KEYS, STRING_FIELD_LIMIT

_BY_RULE: Final = {
    # Warnings: the event is logged.
    "statsig_name_dropped": r"Statsig drops such names: leave out \ [ ] { } < > # = ; & $ % | and control characters",
    "statsig_name_cut": f"Statsig keeps {STRING_FIELD_LIMIT} characters of a name: shorten it, or names fall together",
    "statsig_value_cut": f"Statsig keeps {STRING_FIELD_LIMIT} characters of a text value: shorten it, or send a number",
    "statsig_metadata_cut": f"Statsig keeps {OBJECT_FIELD_LIMIT} characters of all metadata: send less in this key",
    "statsig_metadata_dropped": f"Statsig keeps {OBJECT_FIELD_LIMIT} characters of all metadata: send fewer keys",
    "statsig_metadata_replaced": f"the service sets {', '.join(OWN_KEYS)} itself at Statsig: choose another key",
    "stored_only": "an operator's rule keeps these events from Statsig: ask the operators",
    # Refusals: the event is not logged.
    "required": "send a name that is not blank",
    "max_len": "shorten the field",
    "max_length": "shorten the field",
    "no_control_characters": "leave out control characters, line breaks and tabs too",
    "statsig_name": r"leave out \ [ ] { } < > # = ; & $ % |, or set forward_to_statsig to false",
    "range": "send a time within the years 0001 to 9999",
    "not_in_future": "correct the clock or the time zone: the time is over 24 hours ahead",
    "max_keys": "send fewer keys, or put some into an object",
    "finite": "leave out NaN and infinities",
    "reserved": "choose another key: this one is the service's",
    "max_nesting": "send fewer levels of objects and lists",
    "no_nul": "leave out NUL characters",
    "max_bytes": "send less metadata",
    "type": "send a value of the field's type",
    "min_items": "send at least one event a call",
    "max_items": "send fewer events a call",
    "malformed_request": "send valid JSON or protobuf of the request's type: build it with a client, not by hand",
    "request_too_large": "send smaller events, or fewer in a call",
    "idempotency_conflict": "use a new idempotency_key for each event: this one belonged to another event",
    "caller_overloaded": "send more slowly, or retry later as the answer says",
    "overloaded": "retry later as the answer says; if it stays, the operators add instances",
    "refused_by_rule": "an operator's rule refuses these events: ask the operators",
}

_OF_OTHER: Final = "see the answers to the caller's calls: each names its fields and rules"


def advice_on(reason: str) -> str:
    """What the caller has to do, in a few words. Any reason has an answer."""
    if reason == OTHER:
        return _OF_OTHER
    return _BY_RULE.get(rule_of(reason), _OF_OTHER)
