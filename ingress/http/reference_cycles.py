"""Reference cycles of failed calls, which would keep request bodies in memory."""

import traceback


def break_cycles(error: BaseException) -> None:
    """Clear the local variables of the frames in the error's traceback, and of the errors that caused it.

    connectrpc keeps an error in a variable of a frame that its traceback refers to. The cycle holds the call's body,
    and is collected seldom (`shared/process/garbage_collection.py`): 500 refused bodies of 4 MiB took 2 GiB.
    """
    seen: set[int] = set()  # by identity: the chain of causes can be circular
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        traceback.clear_frames(current.__traceback__)
        current = current.__cause__ or current.__context__
