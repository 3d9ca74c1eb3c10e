"""What ends a command that started a job and does not wait for it."""

from __future__ import annotations


class Detached(Exception):
    """The job ``job`` runs, and nobody waits for it here."""

    def __init__(self, job: str, where: str) -> None:
        super().__init__(f"the job {job} runs on {where}")
        self.job = job
