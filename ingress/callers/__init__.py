"""Who calls, and how callers share what there is."""
