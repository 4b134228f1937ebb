"""`nest-events`, the operators' command. It is a process of its own: nothing here runs in the worker.

- `cli`, `commands`: what can be typed, with its help.
- `run_command`, `connections`, `exit_codes`, `failure_reasons`, `audit`, `options`: what every command shares.
- `state`: `status` and `watch`.
- `doctor`: `doctor`.
- `events`: `trace` and `log`.
- `dead_letters`: `dead-letters list`, `show`, `replay` and `discard`.
- `account`, `reconcile`: the commands of these names.
- `terminal`: output, layout, progress, ages and times.
"""
