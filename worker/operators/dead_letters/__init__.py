"""`nest-events dead-letters`: `list`, `show`, `replay` and `discard`.

- `listing`, `showing`, `replay`, `discard`: one module for each command.
- `filters`, `selection`: the options that choose dead letters, as typed and as parsed.
- `forecast`: what a replay would make of one event. `choosing`: the events of a replay, with that of each.
- `replay_job`: the replay itself.
"""
