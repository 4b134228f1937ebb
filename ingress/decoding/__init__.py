"""Decoding of request bodies: in slices of the event loop's time, and within budgets of memory."""
