"""Faults of whole builds, planted by passes of a user's own: the check that is meant for each fails
the build, and the same build without a fault passes."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.attack import artifact_faults
from tests.attack.planting import LACKING, MEANT, copy_catalogue
from tests.support.command import Quern
from tests.support.quick_builds import report_of
from tests.support.warm_builds import warm_build
from tests.support.warm_runtime import WarmRuntime

CONFIG = """\
name = "small"
seed = 2
{skipped}

[model]
source = "checkpoint"

[data.tones]
path = "tones.jsonl"
prompt = "{{phrase}}"
completion = "{{tone}}"
label = "tone"

[data.tones.split]
eval = 0.3

[passes.lora]
r = 8
max_steps = 20

[passes.join]
type = "planted.py:Join"
times = {times}
fault = "{merging}"

[passes.model_builder]
{builder}

[passes.planted]
{planted}
"""

FLOAT = "an fp16 graph"

# What takes long and is meant for no fault: left out where one is planted.
UNTIMED = 'skip_checks = ["latency", "memory"]'
QUICK = """
[checks.latency]
lengths = []
rounds = 3
target_limits = false
"""

# Fault -> the verdicts that are meant for it.
FAULTS = {
    "beams": {"same_settings"},  # the runtime may crash, which fails `usable` as well
    "data_truncated": {"external_data", "same_weights"},
    "end_is_the_beginning": {"answers_end", "same_settings"},
    FLOAT: {"quantized_share", "same_graph"},
    "layer_larger": {"layer_scales", "same_weights"},
    "never_ends": {"answers_end", "same_weights"},
    "rotary_from_2048": {"long_run_share", "rotary_table", "same_weights"},
    "swapped_keys_and_values": {"layer_scales", "same_weights"},
    "swapped_letters": {"same_tokenizer", "tokenizer"},
}
MERGES = {0: "the adapter was not merged", 2: "merged twice"}


@dataclass(frozen=True)
class Faulty:
    """A project whose passes can plant faults; its base has learnt its data by heart."""

    quern: Quern
    runtime: WarmRuntime
    folder: Path
    dist: Path

    def build(
        self,
        fault: str = "",
        times: int = 1,
        builder: str = "",
        checks: str = "",
        *,
        merging: str = "",
    ) -> int:
        """Build with a fault of the artifact, or one of ``merging``, or the adapter merged so many
        times; return the exit code."""
        config = self.folder / "small.toml"
        clean = not fault and not merging and times == 1
        skipped = "" if clean else UNTIMED
        planted = 'type = "planted.py:FloatInstead"'
        if fault != FLOAT:
            planted = f'type = "planted.py:Plant"\nfault = "{fault}"'
        text = CONFIG.format(
            planted=planted, times=times, merging=merging, builder=builder, skipped=skipped
        )
        config.write_text(text + (QUICK if clean else "") + checks)
        return warm_build(config, self.dist, self.quern.cache, self.runtime)

    @property
    def verdicts(self) -> dict[str, dict[str, Any]]:
        """Return the verdicts of the last build by name."""
        return {verdict["name"]: verdict for verdict in report_of(self.dist)["checks"]}

    @property
    def failed(self) -> dict[str, str]:
        """Return what failed in the last build, and why."""
        found = self.verdicts.values()
        return {item["name"]: item["detail"] for item in found if item["status"] == "failed"}


@pytest.fixture(scope="module")
def faulty(quern: Quern, warm_runtime: WarmRuntime, material: Path) -> Faulty:
    copy_catalogue(material)
    return Faulty(quern, warm_runtime, material, material / "dist")


@pytest.mark.parametrize(
    "builder",
    [
        "",
        *(
            pytest.param(other, marks=pytest.mark.slow)
            for other in (
                *("block_size = 128", "symmetric = false"),
                *('precision = "int8"', 'precision = "fp32"'),
            )
        ),
    ],
)
def test_a_clean_build_passes(faulty: Faulty, builder: str) -> None:
    assert faulty.build(builder=builder) == 0, faulty.failed
    verdicts = faulty.verdicts
    assert {status["status"] for status in verdicts.values()} == {"passed"}, verdicts
    meant = {
        *set().union(*FAULTS.values()) - {"usable"},
        "merge_error",
        "merge_share",
        "long_logits_error",
        "mean_kl",
    }
    absent = {'precision = "int8"': {"long_run_share"}}
    absent['precision = "fp32"'] = {"long_run_share", "quantized_share"}
    assert meant - verdicts.keys() == absent.get(builder, set())


@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_a_fault_fails_the_build(faulty: Faulty, fault: str) -> None:
    assert faulty.build(fault) == 3, faulty.failed
    assert FAULTS[fault] <= faulty.failed.keys(), faulty.failed


PARTS = {
    "files": artifact_faults.FILES,
    "graph": artifact_faults.GRAPH,
    "settings": artifact_faults.SETTINGS,
    "tokenizer": artifact_faults.TOKENIZER,
    "weights": artifact_faults.WEIGHTS,
}
"""The parts of the catalogue. ``-k "catalogue and weights"`` runs one of them: all take an hour."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(fault, id=f"{part}-{fault}")
        for part, faults in PARTS.items()
        for fault in sorted(faults.keys() - FAULTS.keys() - LACKING)
    ],
)
def test_every_fault_of_the_catalogue_fails_the_build(
    faulty: Faulty, fault: str, record_property: Callable[[str, object], None]
) -> None:
    code = faulty.build(fault)
    record_property("failed", faulty.failed)
    assert code == 3, faulty.failed
    assert MEANT[fault] in faulty.failed, faulty.failed


@pytest.mark.parametrize("times", sorted(MERGES))
def test_an_adapter_merged_otherwise_than_once_fails_the_build(faulty: Faulty, times: int) -> None:
    assert faulty.build(times=times) == 3, faulty.failed
    assert {"merge_error", "merge_share"} <= faulty.failed.keys()
    assert MERGES[times] in faulty.failed["merge_error"]


def test_a_merge_that_loses_an_end_fails_the_build(faulty: Faulty) -> None:
    """Artifact and merged model agree then: only the base tells."""
    assert faulty.build(merging="end_gone") == 3, faulty.failed
    assert faulty.failed.keys() == {"merged_files"}
    assert "answers end at [5], those of the base at [1, 5]" in faulty.failed["merged_files"]


def test_a_model_too_large_to_export_is_held_against_pytorch(faulty: Faulty) -> None:
    assert faulty.build(checks="\n[checks.quantization]\nmax_export = 0\n") == 0, faulty.failed
    for name in ("logits_error", "mean_kl"):
        assert "more than max_export of 0.0 GB" in faulty.verdicts[name]["detail"]
    assert "together" in faulty.verdicts["logits_error"]["detail"]
    assert "merged model" in faulty.verdicts["accuracy_loss"]["detail"]


def test_answers_of_another_form_fail_the_build(faulty: Faulty) -> None:
    form = "required_keys = ['tone']\nanswer_pattern = 'joy|fear|sadness'\n"
    assert faulty.build(checks=f"\n[checks.quality]\n{form}") == 3, faulty.failed
    assert faulty.failed.keys() == {"valid_json"}
    assert faulty.verdicts["pattern_matches"]["value"] == 1


def test_a_proof_that_did_not_run_where_the_build_is_not_known_says_so(
    faulty: Faulty, tmp_path: Path
) -> None:
    assert faulty.build() == 0
    away = Path(shutil.copytree(faulty.dist / "small" / "cpu", tmp_path / "away"))
    data = away / "model" / "model.onnx.data"
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 1
    data.write_bytes(content)
    for file in (away / "report.json", away / "checks" / "checks.json"):
        digests = json.loads(file.read_text())
        (entry,) = (item for item in digests["files"] if item["path"] == data.name)
        entry["sha256"] = hashlib.sha256(content).hexdigest()
        file.write_text(json.dumps(digests))
    ran = faulty.quern("check", str(away), "--runtime", "venv")
    assert ran.code == 0, ran.stdout + ran.stderr
    report = json.loads((away / "report.json").read_text())
    found = {check["name"]: check for check in report["checks"]}
    assert report["status"] == "unverified"
    for name in ("layer_scales", "same_weights"):
        assert found[name]["status"] == "unverified"
        assert "passed where it was built, not here" in found[name]["detail"]
    assert found["loads"]["status"] == "passed"
    # With every check left out that would say so, and the result brought as if it were from here.
    kept = {"graph", "generation"}
    for file, entries in (
        (away / "report.json", "checks"),
        (away / "checks" / "checks.json", "steps"),
    ):
        said = json.loads(file.read_text())
        if entries == "checks":
            said["checks_as_built"] = ()
        said[entries] = [
            item for item in said[entries] if item["name"] in {*kept, "loads", "answers_end"}
        ]
        file.write_text(json.dumps(said))
    (away / "checked.json").unlink()
    for more in ((), ("--result", str(away / "checked.json"))):
        ran = faulty.quern("check", str(away), "--runtime", "venv", *more)
        assert ran.code == 0, ran.stdout + ran.stderr
        report = json.loads((away / "report.json").read_text())
        names = [check["name"] for check in report["checks"] if check["status"] == "unverified"]
        assert (report["status"], names) == ("unverified", ["known_build"])


def test_the_report_tells_how_the_artifact_compares(faulty: Faulty) -> None:
    assert faulty.build() == 0
    report = report_of(faulty.dist)
    quality = report["quality"]
    assert quality["against"] == "float export"
    assert quality["paired"].keys() == {"won", "lost", "p_value", "low", "high"}
    assert quality["length_ratio"] == 1
    for name in ("base", "tuned", "artifact"):
        details = quality["details"][name]
        assert details["confusion"].keys() == {"joy", "fear", "sadness"}
        assert {"value", "low", "high", "macro_f1", "perplexity", "valid"} <= details.keys()
    layers = report["figures"]["quantization"]["layers"]
    assert len(layers) == 15
    assert layers["layer 1 v_proj"]["bits"] == 4
    assert report["figures"]["merging"]["share"] == pytest.approx(1, abs=0.01)
