"""Searches for the artifact and session settings that are fastest here, within quality limits."""
