"""connectrpc interceptors, one concern each. `ingress/app.py` puts them in order."""
