"""`python -m worker`."""

import gc
import sys


def main() -> int:
    """See `worker.process.main`."""
    # While modules are imported little becomes garbage: looking for it took a fifth of the start.
    # `tune_garbage_collection` turns the collector on again.
    gc.disable()
    from worker.process import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
