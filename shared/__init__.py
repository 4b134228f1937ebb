"""What ingress and worker have in common; imports neither."""
