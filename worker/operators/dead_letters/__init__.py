"""`nest-events dead-letters`: list, show, replay, discard."""
