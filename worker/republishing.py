"""Republishing: marks one page of pending rows, then publishes their messages.

If Spanner or Pub/Sub is down the page ends, and its rows are due again at once. A bug, or a row that triggers one, does
not end it: the page is then handled row by row, and a row that still fails is skipped and logged.
"""

from collections.abc import Callable, Sequence
from typing import Final

from shared.errors import PublishFailedError, StorageUnavailableError, UndecodableMessageError
from shared.events import forward_message
from shared.events.event import Event
from shared.events.forward_message import OutgoingMessage
from shared.events.republish_ledger import Marked, Reached, RepublishLedger
from shared.process.fault_points import fault_point
from shared.process.logs import get_logger
from shared.pubsub import Publisher
from worker.unpublishable import Unpublishable, placeholder_message

OUTAGE_FAILURES: Final = 2
"""Pub/Sub is taken to be down when this many single messages of a page have failed and none has succeeded. One alone
may be refused for what it is."""

_log = get_logger()


class Republishing:
    """Republishes pages of pending rows; for the event loop's thread."""

    def __init__(
        self,
        *,
        ledger: RepublishLedger,
        publisher: Publisher,
        unpublishable: Unpublishable,
        intervals: Sequence[float],
        force: bool = False,
        chosen: Callable[[Event], bool] | None = None,
    ) -> None:
        """`intervals`, in seconds, are the waits between two messages of a row. `force` also takes rows not due yet.

        With `chosen` only rows are taken for whose event it returns true.
        """
        self._ledger = ledger
        self._publisher = publisher
        self._unpublishable = unpublishable
        self._intervals = intervals
        self._force = force
        self._chosen = chosen

    async def republish(self, event_ids: Sequence[str], *, search: bool, reached: Reached | None = None) -> int:
        """Republish the rows that are due; returns how many. With `reached` as `RepublishLedger` says.

        A row whose message no worker could decode is dead-lettered.

        If Pub/Sub does not take the page and `search` is set, its messages are published one by one, so that a refused
        message does not hold up the others. In an outage that takes the time of three requests.

        Raises:
            PublishFailedError, StorageUnavailableError: the rest was not published, and may be tried again.
        """
        marked = await self._mark(event_ids, reached)
        if not marked:
            return 0
        fault_point("reconciler_after_mark")
        good, bad = _split(marked)
        published = await self._publish(good, search=search)
        fault_point("reconciler_after_publish")
        await self._unpublishable.dead_letter(bad)
        return published

    async def _mark(self, event_ids: Sequence[str], reached: Reached | None) -> list[Marked]:
        try:
            return await self._marked(event_ids, reached)
        except StorageUnavailableError:
            raise
        except Exception:  # noqa: BLE001 - a bug must not end the round
            _log.exception("reconcile_crashed", events=len(event_ids))
        marked: list[Marked] = []
        for event_id in event_ids:
            try:
                marked += await self._marked([event_id], reached)
            except StorageUnavailableError:
                await self._put_back(marked)
                raise
            except Exception:  # noqa: BLE001 - its traceback was logged for the page
                _log_skipped(event_id)
        return marked

    async def _marked(self, event_ids: Sequence[str], reached: Reached | None) -> list[Marked]:
        return await self._ledger.mark_republished(
            event_ids,
            intervals=self._intervals,
            force=self._force,
            chosen=self._chosen,
            reached=reached,
        )

    async def _publish(self, good: dict[str, tuple[Marked, OutgoingMessage]], *, search: bool) -> int:
        if not good:
            return 0
        try:
            await self._publisher.publish([message for _, message in good.values()])
        except PublishFailedError:
            if not search or len(good) == 1:
                await self._put_back([marked for marked, _ in good.values()])
                raise
        except Exception:  # noqa: BLE001 - as above
            _log.exception("reconcile_crashed", events=len(good))
        else:
            return len(good)
        return await self._publish_one_by_one(good)

    async def _publish_one_by_one(self, good: dict[str, tuple[Marked, OutgoingMessage]]) -> int:
        """Return how many were published. A row that fails while others succeed keeps its mark, and so its interval."""
        left, failed, published = dict(good), list[Marked](), 0
        for event_id, (marked, message) in good.items():
            try:
                await self._publisher.publish([message])
            except PublishFailedError:
                failed.append(marked)
                if not published and len(failed) >= min(OUTAGE_FAILURES, len(good)):
                    await self._put_back([each for each, _ in left.values()])
                    raise
                _log_skipped(event_id)
            except Exception:  # noqa: BLE001 - its traceback was logged for the page
                _log_skipped(event_id)
                del left[event_id]
            else:
                published += 1
                del left[event_id]
        return published

    async def _put_back(self, marked: Sequence[Marked]) -> None:
        try:
            await self._ledger.put_back(marked)
        except StorageUnavailableError as error:
            # They are due again after their interval.
            _log.warning("reconcile_put_back_failed", events=len(marked), error=str(error))


def _split(marked: Sequence[Marked]) -> tuple[dict[str, tuple[Marked, OutgoingMessage]], dict[str, OutgoingMessage]]:
    """Split into rows with messages that a worker can decode, and the messages of all others; by event_id."""
    good: dict[str, tuple[Marked, OutgoingMessage]] = {}
    bad: dict[str, OutgoingMessage] = {}
    for each in marked:
        try:
            message = placeholder_message(each.event_id) if each.event is None else forward_message.encode(each.event)
            if _decodes(message):
                good[each.event_id] = (each, message)
            else:
                bad[each.event_id] = message
        except Exception:  # noqa: BLE001 - it must not spoil the others
            _log.exception("reconcile_crashed", events=1)
            _log_skipped(each.event_id)
    return good, bad


def _decodes(message: OutgoingMessage) -> bool:
    try:
        forward_message.decode(message.data)
    except UndecodableMessageError:
        return False
    return True


def _log_skipped(event_id: str) -> None:
    _log.warning("reconcile_row_skipped", event_id=event_id)
