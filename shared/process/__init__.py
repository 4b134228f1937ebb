"""What every process needs to run: settings, logs, reports to operators, fault points, garbage collection."""
