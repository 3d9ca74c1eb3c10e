"""What host and container agree on: plans, results, events, build configs. No ML library."""
