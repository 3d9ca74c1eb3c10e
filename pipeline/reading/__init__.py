"""Reads files that others wrote, in bounded time and memory; what is wrong in them is an error."""
