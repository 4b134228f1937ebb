"""Events: what they are, how they are encoded, and the ports to where they are kept."""
