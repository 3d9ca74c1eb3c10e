"""Serves an artifact to programs that speak OpenAI's protocol, on this machine alone."""
