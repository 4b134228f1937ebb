"""What an operator types: one function for each command, whose signature is its options and whose docstring its help.

Help, completion and usage errors need nothing else. They answer at once, because no module here imports a client
library, or a module that does, at its top: each function imports its work when it runs.
`tests/unit/operators/test_cli_start.py` checks that.
"""
