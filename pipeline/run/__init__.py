"""Runs plans: finds passes and checks, runs them in order, and stores their results."""
