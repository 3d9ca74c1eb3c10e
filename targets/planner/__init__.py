"""Plans a build: from a config and a target to ordered steps with cache keys."""
