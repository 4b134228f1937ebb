"""`nest-events dead-letters`: `list`, `show`, `replay` and `discard`.

- `listing`, `showing`, `replay`, `discard`: one module for each command.
- `filters`, `selection`: the options that choose dead letters, as typed and as parsed.
- `forecast`: what a replay would make of each event. `replay_job`: the replay itself.
"""
