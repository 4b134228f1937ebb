"""`python -m tests.faults.unread_log FOLDER PROGRAM`: ingress or worker with a pipe for its log that has no reader.

Once the lab calls `let_read`, all lines go where the log would have gone from the start.
"""

import os
import runpy
import shutil
import sys
import time
from pathlib import Path
from threading import Thread
from typing import Final

LOOK_SECONDS: Final = 0.05


def word_file(folder: Path, pid: int) -> Path:
    return folder / f"read-log-{pid}"


def let_read(folder: Path, pid: int) -> None:
    """Makes the process's log be read from now on."""
    word_file(folder, pid).touch()


def read_once_told(word: Path, pipe: int, log: int) -> None:
    while not word.exists():
        time.sleep(LOOK_SECONDS)
    with os.fdopen(pipe, "rb", buffering=0) as source, os.fdopen(log, "wb", buffering=0) as destination:
        shutil.copyfileobj(source, destination)


def main() -> None:
    folder, program = sys.argv[1:3]
    log = os.dup(1)
    reader, writer = os.pipe()
    os.dup2(writer, 1)
    os.close(writer)
    Thread(target=read_once_told, args=(word_file(Path(folder), os.getpid()), reader, log), daemon=True).start()
    sys.argv = [program]
    runpy.run_module(program, run_name="__main__")


if __name__ == "__main__":
    main()
