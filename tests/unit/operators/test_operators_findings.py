"""Problems with the settings of subscriptions."""

from datetime import timedelta

from google.pubsub_v1 import DeadLetterPolicy, ExpirationPolicy, RetryPolicy, Subscription

from worker.operators.doctor.findings import dead_letter_problems, forward_problems


def test_settings_of_subscriptions_that_lose_or_hide_messages_are_found() -> None:
    good = Subscription(
        topic="t",
        ack_deadline_seconds=10,
        retry_policy=RetryPolicy(minimum_backoff=timedelta(seconds=10)),
        dead_letter_policy=DeadLetterPolicy(dead_letter_topic="d", max_delivery_attempts=100),
        expiration_policy=ExpirationPolicy(),
    )
    bad = Subscription(
        topic="other", filter="x", dead_letter_policy=DeadLetterPolicy(dead_letter_topic="d", max_delivery_attempts=5),
        expiration_policy=ExpirationPolicy(ttl=timedelta(days=31)),
    )  # fmt: skip
    holding = Subscription(topic="d", message_retention_duration=timedelta(days=7))

    assert list(forward_problems(good, topic="t", dead_letter_topic="d")) == []
    assert len(list(forward_problems(bad, topic="t", dead_letter_topic="d"))) == 6
    assert list(dead_letter_problems(holding, topic="d")) == []
    assert len(list(dead_letter_problems(good, topic="d"))) == 4
