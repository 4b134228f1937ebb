"""Rows of the matrix that the lab does not run, and why."""

from typing import Final

LEFT_OUT: Final[dict[str, str]] = {
    "F14 (image)": "the programs are process 1 of a PID namespace, not of the image; tests/unit has its entry point",
    "F18 (many values)": "64 bodies of two million numbers each: memory holds, but decoding each takes the event loop "
    "seconds, and calls outlast their deadlines",
    "F18 (OOM kill)": "the cap is on the address space, where an allocation fails: one that kills needs cgroups",
    "F26": "the emulator shows no query plans; the index is NULL-filtered, sharded and forced by the query",
    "F36 (DNS)": "the worker is started with a name that has no address; one that loses it needs a resolver of our own",
    "F37 (1e9 s)": "capped at 300 s, which is longer than a row may take; tests/unit has the cap",
    "F47 (90 s)": "the stop is 12 s, past the 10 s lease, which is what matters to the emulator",
    "F48 (120 s)": "the stop is 12 s, past the claim of 10 s that the lab sets",
    "F49 (50k)": "the backlog is what --events makes of it",
}
