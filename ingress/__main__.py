"""`python -m ingress`."""

import gc
import os
import sys

from shared.process.ending import exit_on_termination

GIL_SWITCH_SECONDS = 0.0002
"""How long the HTTP server's thread waits for the interpreter while the event loop is busy. It needs it at each step of
a request: with Python's 5 ms a call beside a flood took twice as long. The loop's throughput is the same."""


def main() -> int:
    """See `ingress.process.main`. The collector and the allocator must be set before the libraries are imported."""
    # While modules are imported little becomes garbage: looking for it took a fifth of the start.
    # `tune_garbage_collection` turns the collector on again.
    gc.disable()
    exit_on_termination()
    # The HTTP server's allocator (mimalloc 3) gives memory back after a flood; ARCHITECTURE.md has the figures.
    os.environ.setdefault("MIMALLOC_PURGE_DELAY", "0")
    sys.setswitchinterval(GIL_SWITCH_SECONDS)
    from ingress.process import main as serve

    return serve()


if __name__ == "__main__":
    sys.exit(main())
