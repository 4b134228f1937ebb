"""The state of the whole: `nest-events status` and `watch`."""
