"""A merged model is its base but for what the adapter changes: each fault of a merge is named by
the check that compares the two, however little a model's predictions say of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.contract.plan import DataInput, SourceInput, Step, StepInput
from tests.attack.artifact_faults import CHECKPOINT
from tests.attack.planting import plant
from tests.families.table import FAMILIES, Family
from tests.support import plans
from tests.support.plans import output_of, step
from tests.support.warm_process import warm_output

Inputs = Mapping[str, StepInput | SourceInput]
WEIGHTS = {
    *("row_of_a_rare_answer", "row_of_a_rare_token", "trained_matrix_a_little_larger"),
    *("trained_matrix_a_thousandth_smaller", "trained_weight", "untrained_norm_a_little_larger"),
}
QUICK = {"r": 4, "max_steps": 2}
USERS = ("lora", "rslora", "patterns", "dora", "whole", "loha", "lokr")
"""Adapters that PEFT itself makes."""
BUILT = [family for family in FAMILIES if family.result("cpu").word != "refused"]


@dataclass(frozen=True)
class Merge:
    """An adapter that is merged: one of a user's, or one that is trained for it."""

    name: str
    trained: str = ""
    """The pass that trains it."""
    model: SourceInput = plans.CHECKPOINT
    data: DataInput = plans.TONES

    @property
    def merged(self) -> str:
        """Return the name of the step that merges it."""
        return f"merged-{self.name}"

    @property
    def adapter(self) -> StepInput | SourceInput:
        if self.trained:
            return output_of(f"adapter-{self.name}")
        return plans.material_input(f"adapters/{self.name}")

    def steps(self) -> list[Step]:
        """Return the steps that train, merge and check it."""
        base: Inputs = {"model": self.model}
        parts: Inputs = {**base, "adapter": self.adapter}
        texts: Inputs = {**parts, "reference": output_of(f"reference-{self.merged}")}
        short = {"samples": 4, "long_tokens": 0}
        of_merged: Inputs = {"model": output_of(self.merged)}
        training = step(f"adapter-{self.name}", "pass", base, QUICK, self.data, type=self.trained)
        return [
            *([training] if self.trained else []),
            step(self.merged, "pass", parts, type="merge"),
            step(f"reference-{self.merged}", "pass", of_merged, short, self.data, type="reference"),
            step(f"adapted-{self.merged}", "pass", texts, type="adapted_reference"),
            self.check(self.merged),
        ]

    def check(self, merged: str) -> Step:
        """Return the check of a merged model; its predictions are those of the healthy one."""
        inputs: Inputs = {
            "merged_reference": output_of(f"reference-{self.merged}"),
            "adapted_reference": output_of(f"adapted-{self.merged}"),
            "merged": output_of(merged),
            "unmerged": self.model,
            "merged_adapter": self.adapter,
        }
        return step(f"merging-{merged}", "check", inputs, type="merging")


@pytest.fixture(scope="module")
def work(toolchain_python: Path, material: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Merge, spoil copies, and check all."""
    work = tmp_path_factory.mktemp("merged") / "work"
    places = (material / "checkpoint", material / "adapters")
    warm_output(toolchain_python, "tests.support.users_adapters", *places)
    merges = [*map(Merge, USERS), Merge("qlora", "qlora")]
    steps = [one for merge in merges for one in merge.steps()]
    plans.must_run(toolchain_python, work, material, steps)
    plant(toolchain_python, work, merges[0].merged, *CHECKPOINT)
    checks = [merges[0].check(fault) for fault in CHECKPOINT]
    plans.must_run(toolchain_python, work, material, checks)
    return work


@pytest.fixture(scope="module")
def untrained(toolchain_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder with checkpoints of all families, whose weights are random."""
    folder = tmp_path_factory.mktemp("untrained")
    names = [family.name for family in BUILT]
    warm_output(toolchain_python, "tests.families.make", folder, *names, "--steps", "0")
    return folder


def require_passed(work: Path, merge: Merge) -> None:
    verdicts = {v.name: v for v in plans.result(work, f"merging-{merge.merged}").verdicts}
    for name in ("merged_weights", "merged_files"):
        assert verdicts[name].status == "passed", verdicts[name]


@pytest.mark.parametrize("name", [*USERS, "qlora"])
def test_what_was_merged_passes(work: Path, name: str) -> None:
    require_passed(work, Merge(name))


@pytest.mark.slow
@pytest.mark.parametrize("family", BUILT, ids=lambda family: family.name)
def test_what_was_merged_passes_in_each_family(
    toolchain_python: Path, untrained: Path, tmp_path: Path, family: Family
) -> None:
    """Configs and tokens are as on the hub, and written by transformers when they are merged."""
    spec = plans.TONES.spec.model_copy(update={"chat": bool(family.template)})
    data = plans.TONES.model_copy(update={"spec": spec})
    merge = Merge(family.name, "lora", plans.material_input(family.name), data)
    plans.must_run(toolchain_python, tmp_path / "work", untrained, merge.steps())
    require_passed(tmp_path / "work", merge)


@pytest.mark.parametrize("fault", CHECKPOINT)
def test_a_fault_of_the_merged_model_is_named(work: Path, fault: str) -> None:
    failed = plans.failed_verdicts(work, f"merging-{fault}")
    assert failed.keys() == {"merged_weights" if fault in WEIGHTS else "merged_files"}
