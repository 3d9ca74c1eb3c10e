"""What a release says of its figures, and its model card."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from pipeline.contract.file_digest import FileDigest
from pipeline.contract.schema import Card
from targets.release.card import MadeFrom, model_card
from targets.release.released_report import ReleasedReport, rounded
from targets.report.report_schema import CheckVerdict
from targets.target import load_target


def released(**changes: Any) -> ReleasedReport:
    table = {
        "build": "tone",
        "version": "1.2.0",
        "target": "cpu",
        "artifact": "onnx",
        "status": "passed",
        "quern": "0.1.0",
        "inputs": {"config": "c" * 64, "model": "hf:team/base@" + "1" * 40},
        "toolchain": {
            "digest": "d" * 64,
            "lock": "e" * 64,
            "platform": "linux/amd64",
            "python": "3.11",
            "versions": {"torch": "2.13.0+cpu"},
        },
        "steps": [],
        "checks": [
            CheckVerdict(name="accuracy", status="passed", value=0.93, limit=0.9, unit="share")
        ],
        "timed": [{"name": "latency", "params": {"token_ms": 20.0, "first_token_ms": None}}],
        "quality": {
            "metric": "accuracy",
            "samples": 9,
            "base": 0.25,
            "tuned": 0.9,
            "artifact": 0.9,
        },
        "files": [FileDigest(path="model.onnx", bytes=1200, sha256="a" * 64)],
        **changes,
    }
    return ReleasedReport.model_validate(table)


def card_of(report: ReleasedReport, card: Card | None = None) -> tuple[dict[str, Any], str]:
    made_from = [MadeFrom("data.tone.0", "sha256 " + "b" * 64)]
    text = model_card(report, card or Card(), load_target("cpu"), made_from, None, "x").decode()
    _, front, body = text.split("---\n", 2)
    return yaml.safe_load(front), body


@pytest.mark.parametrize(
    ("here", "elsewhere"),
    [
        (0.0050994014, 0.0050994099),
        (3.01e-7, 3.06e-7),  # rounding noise, of which each CPU has its own
        (1.1140290159, 1.1140290201),
        (3280.318694728666, 3280.3186950),
    ],
)
def test_what_cpus_make_of_the_same_is_written_alike(here: float, elsewhere: float) -> None:
    assert rounded({"a": [here]}) == rounded({"a": [elsewhere]})


def test_rounding_keeps_what_is_exact_and_what_is_large() -> None:
    table = {"samples": 540, "exact": True, "name": "0.123456", "share": 0.9351851851851852}
    assert rounded(table) == {**table, "share": 0.935}
    assert rounded(float("inf")) == float("inf")
    assert rounded([None, 0.0, -0.25]) == [None, 0.0, -0.25]


def test_the_card_says_what_is_known_and_what_is_not() -> None:
    front, body = card_of(released())
    assert front["base_model"] == "team/base"
    assert front["license"] == "unknown"
    assert "data.tone.0 | sha256 bbb" in body
    assert "| latency | passed | see the provenance | token_ms ≤ 20 |" in body
    assert "licence not stated: artifact, base model, data" in body
    assert "nobody wrote down its limitations" in body
    assert "Unverified" not in body


def test_the_card_says_where_the_targets_own_limits_hold() -> None:
    usual = {name: {"at_least": 10} for name in ("first_token_ms", "token_ms")}
    params = {"token_ms": 20.0, "first_token_ms": None, "usual_limits": usual}
    _, body = card_of(released(timed=[{"name": "latency", "params": params}]))
    assert "| token_ms ≤ 20, first_token_ms: the target's default |" in body
    none = {**params, "token_ms": None, "target_limits": False}
    _, body = card_of(released(timed=[{"name": "latency", "params": none}]))
    assert "| latency | passed | see the provenance | – |" in body


def test_the_card_of_what_is_fully_described_has_no_gaps() -> None:
    card = Card(
        description="Tells tones | apart.",
        license="MIT",
        model_license="MIT",
        data_license="CC-BY-4.0",
        authors=("A", "B|C"),
        limitations="English only.",
    )
    front, body = card_of(released(), card)
    assert front["license"] == "mit"
    assert "None that Quern knows of." in body
    assert "A, B\\|C" in body
    assert "English only." in body


def test_what_is_unverified_stands_at_the_top_and_in_the_gaps() -> None:
    reason = "DirectML runs on Windows only"
    timed = [{"name": "latency", "params": {}, "unverified": reason}]
    checks = [CheckVerdict(name="loads", status="unverified", detail=reason)]
    report = released(status="unverified", timed=timed, checks=checks)
    assert report.unverified == (f"latency: {reason}", f"loads: {reason}")
    _, body = card_of(report)
    assert body.index("**Unverified.**") < body.index("base model")
    assert f"- unverified: loads: {reason}" in body
    assert "| loads | unverified |" in body


def test_an_adapter_beside_the_model_is_named_with_its_digest() -> None:
    name, digest = "support.onnx_adapter", "f" * 64
    files = [
        FileDigest(path="model.onnx", bytes=1200, sha256="a" * 64),
        FileDigest(path=name, bytes=80, sha256=digest),
    ]
    _, body = card_of(released(files=files))
    assert f"the adapter `model/{name}` (sha256 {digest}), beside the base" in body
    assert "adapter" not in card_of(released())[1]
