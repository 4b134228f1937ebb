"""What a failed call leaves behind."""

import traceback


def break_cycles(error: BaseException) -> None:
    """Empty the frames through which the error came, and those of the errors behind it.

    connectrpc keeps an error in a variable of the frame that its traceback leads to. That is a cycle, with the call's
    body in it, and is collected seldom (shared/process/garbage_collection.py): 500 refused bodies of 4 MiB took 2 GiB.
    """
    seen: set[int] = set()  # by identity: one that was raised from what it had caused makes a circle
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        traceback.clear_frames(current.__traceback__)
        current = current.__cause__ or current.__context__
