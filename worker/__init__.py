"""The forwarder: pulls forward messages and sends their events to Statsig."""
