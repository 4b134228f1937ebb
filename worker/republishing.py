"""Republishing: one page of pending rows, marked first and published then.

What is down ends the page, and its rows are due again at once. A bug, or a row that trips one, ends nothing: the page
is then gone through row by row, and what still fails is skipped with a line in the log.
"""

from collections.abc import Sequence
from typing import Final

from shared.errors import PublishFailedError, StorageUnavailableError, UndecodableMessageError
from shared.events import forward_message
from shared.events.forward_message import OutgoingMessage
from shared.events.republish_ledger import Marked, RepublishLedger
from shared.process.fault_points import fault_point
from shared.process.logs import get_logger
from shared.pubsub import Publisher
from worker.unpublishable import Unpublishable, stand_in

FAILURES_OF_AN_OUTAGE: Final = 2
"""Messages alone that Pub/Sub does not take, with none that it takes: it is not the one of the page that it refuses."""

_log = get_logger()


class Republishing:
    """Of any page of rows that are pending."""

    def __init__(
        self,
        *,
        ledger: RepublishLedger,
        publisher: Publisher,
        unpublishable: Unpublishable,
        intervals: Sequence[float],
        force: bool = False,
    ) -> None:
        """With `force` also what is not due yet."""
        self._ledger = ledger
        self._publisher = publisher
        self._unpublishable = unpublishable
        self._intervals = intervals
        self._force = force

    async def republish(self, event_ids: Sequence[str], *, search: bool) -> int:
        """Publish again what is due of these; how many.

        Where Pub/Sub does not take the page, `search` has its messages published one by one, so that one that it
        refuses spoils no other. In an outage that takes the time of three requests.

        Raises:
            PublishFailedError, StorageUnavailableError: the rest was not published, and may be looked at again.
        """
        marked = await self._mark(event_ids)
        if not marked:
            return 0
        fault_point("reconciler_after_mark")
        good, bad = _sorted(marked)
        published = await self._publish(good, search=search)
        fault_point("reconciler_after_publish")
        await self._unpublishable.bury(bad)
        return published

    async def _mark(self, event_ids: Sequence[str]) -> list[Marked]:
        try:
            return await self._marked(event_ids)
        except StorageUnavailableError:
            raise
        except Exception:  # noqa: BLE001 - whatever it is, it must not end the round
            _log.exception("reconcile_crashed", events=len(event_ids))
        marked: list[Marked] = []
        for event_id in event_ids:
            try:
                marked += await self._marked([event_id])
            except StorageUnavailableError:
                await self._put_back(marked)
                raise
            except Exception:  # noqa: BLE001 - its traceback was logged for the page
                _skip(event_id)
        return marked

    async def _marked(self, event_ids: Sequence[str]) -> list[Marked]:
        return await self._ledger.mark_republished(event_ids, intervals=self._intervals, force=self._force)

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
        """What fails while others are taken keeps its mark, and with it its growing interval."""
        left, failed, published = dict(good), list[Marked](), 0
        for event_id, (marked, message) in good.items():
            try:
                await self._publisher.publish([message])
            except PublishFailedError:
                failed.append(marked)
                if not published and len(failed) >= min(FAILURES_OF_AN_OUTAGE, len(good)):
                    await self._put_back([each for each, _ in left.values()])
                    raise
                _skip(event_id)
            except Exception:  # noqa: BLE001 - its traceback was logged for the page
                _skip(event_id)
                del left[event_id]
            else:
                published += 1
                del left[event_id]
        return published

    async def _put_back(self, marked: Sequence[Marked]) -> None:
        try:
            await self._ledger.put_back(marked)
        except StorageUnavailableError as error:
            # They come back with their interval.
            _log.warning("reconcile_put_back_failed", events=len(marked), error=str(error))


def _sorted(marked: Sequence[Marked]) -> tuple[dict[str, tuple[Marked, OutgoingMessage]], dict[str, OutgoingMessage]]:
    """Those that a worker can decode, and the messages of those that none can."""
    good: dict[str, tuple[Marked, OutgoingMessage]] = {}
    bad: dict[str, OutgoingMessage] = {}
    for each in marked:
        try:
            message = stand_in(each.event_id) if each.event is None else forward_message.encode(each.event)
            if _decodes(message):
                good[each.event_id] = (each, message)
            else:
                bad[each.event_id] = message
        except Exception:  # noqa: BLE001 - it must not spoil the others
            _log.exception("reconcile_crashed", events=1)
            _skip(each.event_id)
    return good, bad


def _decodes(message: OutgoingMessage) -> bool:
    try:
        forward_message.decode(message.data)
    except UndecodableMessageError:
        return False
    return True


def _skip(event_id: str) -> None:
    _log.warning("reconcile_row_skipped", event_id=event_id)
