"""Operators' rules: adding, listing and removing them, and pausing, resuming and probing, which are rules too."""
