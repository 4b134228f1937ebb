"""The terminal's side of the commands: output and its layout, progress bars, ages and times."""
