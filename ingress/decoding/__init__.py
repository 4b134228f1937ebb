"""From bytes to messages, in slices and within budgets."""
