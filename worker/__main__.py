"""`python -m worker`."""

import gc
import sys

from shared.process.ending import exit_on_termination


def main() -> int:
    """See `worker.process.main`."""
    # While modules are imported little becomes garbage: looking for it took a fifth of the start.
    # `tune_garbage_collection` turns the collector on again.
    gc.disable()
    exit_on_termination()
    from worker.process import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
