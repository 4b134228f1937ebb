"""The whole stack on this machine: emulators, a stand-in for Statsig, ingress and worker."""
