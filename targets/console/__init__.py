"""Output for people: a live view on a terminal, plain lines in logs, the summary at the end."""
