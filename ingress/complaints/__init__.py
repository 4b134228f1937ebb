"""Complaints: counts what callers were warned of and refused. Bounded in memory and in rows, however callers behave."""
