"""Servers that stand in for the object stores of clouds, on this machine."""
