"""Reports as builds write them, for tests of what is made of them."""

from __future__ import annotations

from pipeline.contract.file_digest import FileDigest
from pipeline.contract.result import Verdict
from pipeline.verdicts.overall import overall
from targets.report.report_schema import (
    CheckVerdict,
    InputsReport,
    PassReport,
    Report,
    ToolchainReport,
)

ACCURACY = Verdict(
    name="accuracy", status="passed", value=0.934, limit=0.9, relation=">=", unit="share"
)


SLOW = Verdict(
    name="token_ms",
    status="failed",
    value=31.25,
    limit=20,
    relation="<=",
    unit="ms",
    detail="p90 of 64 samples",
)


def make_report(*checks: Verdict) -> Report:
    return Report(
        build="tone",
        target="cpu",
        status=overall(check.status for check in checks),
        quern="0",
        inputs=InputsReport(config="c0ffee", model="here", data={"tone": "da7a"}),
        toolchain=ToolchainReport(digest="d1", runtime="venv", versions={"torch": "2.13.0"}),
        passes=(
            PassReport(
                name="lora",
                type="lora",
                key="k",
                cached=True,
                reason="cached",
                seconds=61.4,
                peak_rss_bytes=1_200_000_000,
            ),
        ),
        checks=tuple(CheckVerdict(**dict(check)) for check in checks),
        quality={
            "metric": "accuracy",
            "samples": 540,
            "base": 0.25,
            "tuned": 0.95,
            "artifact": 0.934,
        },
        files=(FileDigest(path="model.onnx", bytes=4_200_000, sha256="0f"),),
    )
