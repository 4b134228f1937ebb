"""From rows to committed rows: queues, group commits, the publish behind them."""
