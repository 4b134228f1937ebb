"""HTTP: the server, and what is bounded or refused before connectrpc handles a request."""
