"""What a check can read, and what makes it: the one table of roles.

To add a role, name it in :data:`Role` and say in :data:`ROLES` what it is of and which pass makes
it. The planner then adds that pass wherever a check needs the role.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Role = Literal[
    "artifact",
    "model",
    "adapter",
    "widths",
    "integers",
    "base_answers",
    "tuned_answers",
    "base_reading",
    "tuned_reading",
    "reference",
    "float_reference",
    "merged_reference",
    "adapted_reference",
    "merged",
    "unmerged",
    "merged_adapter",
    "base_timing",
    "task_data",
    "base_tasks",
    "tuned_tasks",
]

Subject = Literal[
    "nothing",
    "artifact",
    "base",
    "adapter",
    "widths",
    "integers",
    "tuned",
    "exported",
    "merged",
    "unmerged",
]
"""What a role is of: no model at all; the artifact; the base model; the adapter that the artifact
keeps separate; the widths, or the integers, that a pass chose for its weights; the checkpoint that
the artifact was made from (with an adapter, that it was trained on); what an export without
quantization is made of: that, or where the artifact keeps an adapter separate, base and adapter;
what the last merge made; base and adapter of that merge. A separate adapter is merged for the
checks."""


@dataclass(frozen=True)
class RoleSource:
    """Where what a check reads in a role comes from."""

    of: Subject
    made_by: str = ""
    """Type of the pass that makes it; empty where it is the subject itself."""
    step: str = ""
    """Name of the step with that pass; empty where each check has one of its own."""
    each: str = ""
    """What the names of the steps begin with where each check has one of its own."""
    beside: Role | None = None
    """What the pass reads too: as its input ``reference``, or where each check has a pass of its
    own, by its name."""
    same_as: Role | None = None
    """The role that serves for this one too where both are of the same model."""
    held_out: bool = False
    """Whether it comes from held-out data."""
    travels: bool = True
    """Whether it is small enough to lie beside the artifact, for checks on another machine."""


ROLES: Mapping[Role, RoleSource] = {
    "artifact": RoleSource("artifact"),
    "model": RoleSource("tuned", travels=False),
    "adapter": RoleSource("adapter"),
    "widths": RoleSource("widths"),
    "integers": RoleSource("integers", travels=False),
    "base_answers": RoleSource("base", "evaluate", "evaluate-base", held_out=True),
    "tuned_answers": RoleSource("tuned", "evaluate", "evaluate-tuned", held_out=True),
    "base_reading": RoleSource("base", "read", "read-base"),
    "tuned_reading": RoleSource("tuned", "read", "read-tuned"),
    "reference": RoleSource("tuned", "reference", "reference"),
    "float_reference": RoleSource(
        "exported", "float_reference", "float_reference", beside="reference"
    ),
    "merged_reference": RoleSource("merged", "reference", "reference-merged", same_as="reference"),
    "adapted_reference": RoleSource(
        "unmerged", "adapted_reference", "adapted_reference", beside="merged_reference"
    ),
    "merged": RoleSource("merged", travels=False),
    "unmerged": RoleSource("unmerged", travels=False),
    "merged_adapter": RoleSource("unmerged", travels=False),
    "base_timing": RoleSource("base", "time_base", each="time-base"),
    "task_data": RoleSource("nothing", "fetch_tasks", each="fetch-tasks", travels=False),
    "base_tasks": RoleSource("base", "run_tasks", each="tasks-of-base", beside="task_data"),
    "tuned_tasks": RoleSource("tuned", "run_tasks", each="tasks-of-tuned", beside="task_data"),
}
"""Their steps stand in a plan in this order."""
