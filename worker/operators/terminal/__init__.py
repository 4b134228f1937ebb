"""What an operator reads and types: output, layout, progress, times."""
