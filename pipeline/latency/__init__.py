"""How fast an artifact answers: fresh, pinned processes, in rounds, until the verdict is sure."""
