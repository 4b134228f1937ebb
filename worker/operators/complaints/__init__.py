"""Complaints for operators: who was warned of what, who was refused, and what to mend."""
