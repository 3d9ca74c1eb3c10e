"""From a config and a target to the ordered steps with their cache keys."""
