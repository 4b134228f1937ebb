"""One event: its rows, its history, where it is now."""
