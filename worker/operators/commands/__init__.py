"""What an operator types: one function a command, whose signature is its options and whose docstring is its help.

Help, completion and wrong usage need no more than this, and answer at once only while nothing here imports a client
library, or what uses one, at the top of a module: each function imports its work when it runs.
`tests/unit/operators/test_cli_start.py` holds the modules to that.
"""
