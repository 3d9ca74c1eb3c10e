"""Runs lm-eval's tasks on models and artifacts, and holds what they score against limits."""
