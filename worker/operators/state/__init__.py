"""The state of the whole service now: `nest-events status` and `watch`.

- `snapshot`: all answers of one moment, from `backlog` (the tables) and `processes` (what each process reported).
- `verdict`: what is wrong in a snapshot, since when, and what to do.
- `advice`, `event_advice`: what to do about an open circuit, and what it means for one event.
- `asking`: a question that may stay without an answer.
- `status`, `watch`: the screens.
"""
