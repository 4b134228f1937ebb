"""What production refuses and the emulator accepts, or refuses with another message.

The limits are those of cloud.google.com/pubsub/quotas (resource limits),
cloud.google.com/pubsub/docs/reference/rest/v1/PubsubMessage (no empty message) and
cloud.google.com/pubsub/docs/reference/rest/v1/projects.subscriptions/modifyAckDeadline (0 to 600 seconds). The texts
are production's, from reports to googleapis on GitHub, except where a comment calls them ours. Production counts bytes
and writes characters.
"""

from typing import Any, Final

from google.pubsub_v1 import AcknowledgeRequest, ModifyAckDeadlineRequest, PublishRequest, PullRequest

MOST_PUBLISH_BYTES: Final = 10_000_000
MOST_PUBLISH_MESSAGES: Final = 1_000
MOST_ATTRIBUTES: Final = 100
MOST_KEY_BYTES: Final = 256
MOST_VALUE_BYTES: Final = 1_024
MOST_ACK_BYTES: Final = 524_288
MOST_ACK_DEADLINE_SECONDS: Final = 600

RESERVED: Final = "goog"
GOOGLES_OWN: Final = "googclient_"
"""The prefix of the attributes in which Google's client libraries carry the trace (google-cloud-pubsub 2.44)."""

_QUOTAS: Final = "Refer to https://cloud.google.com/pubsub/quotas for more information."


class RefusedError(Exception):
    """INVALID_ARGUMENT, with this message."""


def check_publish(request: bytes) -> None:
    """Production publishes nothing of a batch that has one bad message.

    Raises:
        RefusedError: production would refuse the request.
    """
    if len(request) > MOST_PUBLISH_BYTES:
        raise RefusedError(
            f"The value for {len(request)} is too large. You passed request_size in the request, but the maximum value "
            f"is {MOST_PUBLISH_BYTES}."
        )
    messages = PublishRequest.pb().FromString(request).messages
    if not messages:
        raise RefusedError(
            "The value for message_count is too small. You passed 0 in the request, but the minimum value is 1."
        )
    if len(messages) > MOST_PUBLISH_MESSAGES:
        raise RefusedError(
            f"The value for {len(messages)} is too large. You passed message_count in the request, but the maximum "
            f"value is {MOST_PUBLISH_MESSAGES}."
        )
    for message in messages:
        _check_message(message)


def check_pull(request: bytes) -> None:
    """Raise RefusedError where production would refuse."""
    if PullRequest.pb().FromString(request).max_messages < 1:
        raise _invalid_argument("max_messages")


def check_acknowledge(request: bytes) -> None:
    """Raise RefusedError where production would refuse."""
    _check_size(request)
    if not AcknowledgeRequest.pb().FromString(request).ack_ids:
        raise _invalid_argument("ack_ids")


def check_modify_ack_deadline(request: bytes) -> None:
    """Raise RefusedError where production would refuse."""
    _check_size(request)
    parsed = ModifyAckDeadlineRequest.pb().FromString(request)
    if not 0 <= parsed.ack_deadline_seconds <= MOST_ACK_DEADLINE_SECONDS:
        raise RefusedError(
            f"Invalid ack deadline given (ack_deadline={parsed.ack_deadline_seconds}). The ack deadline must be "
            f"between 0 and {MOST_ACK_DEADLINE_SECONDS} seconds."
        )
    if not parsed.ack_ids:
        raise _invalid_argument("ack_ids")


def _check_size(request: bytes) -> None:
    if len(request) > MOST_ACK_BYTES:
        raise RefusedError(f"Request payload size exceeds the limit: {MOST_ACK_BYTES} bytes.")


def _check_message(message: Any) -> None:
    attributes = message.attributes
    if not message.data and not attributes:
        raise RefusedError(
            "One or more messages in the publish request is empty. Each message must contain either non-empty data, or "
            "at least one attribute."
        )
    if len(attributes) > MOST_ATTRIBUTES:
        # Our own message.
        raise RefusedError(
            f"One of the messages in the request has too many attributes. The number is {len(attributes)}, but the "
            f"maximum allowed is {MOST_ATTRIBUTES}. {_QUOTAS}"
        )
    for key, value in attributes.items():
        _check_attribute(key, value)


def _check_attribute(key: str, value: str) -> None:
    if key.startswith(RESERVED) and not key.startswith(GOOGLES_OWN):
        # Our own message. Google reserves the prefix for its own names (cloud.google.com/pubsub/docs/admin has it of
        # topics and subscriptions); a test double may be the stricter one.
        raise RefusedError(f'The attribute "{key}" in the request has a key that begins with "{RESERVED}".')
    for what, size, most in (
        ("key", len(key.encode()), MOST_KEY_BYTES),
        ("value", len(value.encode()), MOST_VALUE_BYTES),
    ):
        if size > most:
            # Production does not name a key that is too long.
            name = key if what == "value" else ""
            raise RefusedError(
                f'The attribute "{name}" in the request has a {what} that is too long. The length is {size} '
                f"characters, but the maximum allowed is {most}. {_QUOTAS}"
            )


def _invalid_argument(name: str) -> RefusedError:
    return RefusedError(f"You have passed an invalid argument to the service (argument={name}).")
