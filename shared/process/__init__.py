"""What every process has: settings, logs, reports of itself, fault points."""
