"""Benches that are compared with an earlier one, and some with hostile names."""

from __future__ import annotations

from targets.bench.baseline import EarlierArtifact
from targets.bench.bench_schema import Bench, Unverified
from targets.bench.compare_benches import compare
from targets.report.report_schema import CheckVerdict
from tests.support.bench_data import bench, measured, measurement, target, whole_bench

HOSTILE = '<script>alert("x")</script><img src=http://evil.example/x>|`*$x_$'


def compared() -> Bench:
    ours = measurement(measured(1, slower=1.2), measured(2))
    new = bench(target(measurements=[ours]))
    earlier = {"cpu": EarlierArtifact(None, "in the cache")}
    moved = compare(new, bench(), "old.json", earlier, 0.03)
    return whole_bench().model_copy(update={"comparison": moved})


def hostile() -> Bench:
    spoiled = target(
        measurements=[measurement(measured(1, prompts=("short",)), device=HOSTILE)],
        checks=(CheckVerdict(name=HOSTILE, status="failed", detail=HOSTILE),),
        unverified=(Unverified(what=HOSTILE, why=HOSTILE),),
        notes=(HOSTILE,),
        quality={
            "metric": HOSTILE,
            "artifact": 0.5,
            "details": {"artifact": {"confusion": {HOSTILE: {HOSTILE: 1}}}},
        },
    )
    return bench(spoiled, build=HOSTILE, config=HOSTILE)
