"""`python -m deploy.local`: see deploy/local/cli.py."""

import signal

# Until the stack handles Ctrl-C itself there is nothing to clean up, and a traceback out of an import helps no reader.
signal.signal(signal.SIGINT, signal.SIG_DFL)

from deploy.local.cli import app  # noqa: E402 - the imports take half a second, in which Ctrl-C may come

if __name__ == "__main__":
    app()
