"""What a failed call leaves behind."""

import traceback


def let_go(error: BaseException) -> None:
    """Empty the frames through which the error came, and those of the errors behind it.

    connectrpc keeps an error in a variable of the frame that its traceback leads to. That is a cycle, with the call's
    body in it, and is collected seldom (shared/garbage.py): five hundred refused bodies of 4 MiB took 2 GiB.
    """
    seen: BaseException | None = error
    while seen is not None:
        traceback.clear_frames(seen.__traceback__)
        seen = seen.__cause__ or seen.__context__
