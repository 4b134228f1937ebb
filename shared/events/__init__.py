"""Events: what an event is, its encodings, and the ports to where events and their delivery state are kept."""
