"""The schema of a build config."""
