"""``README.md`` of an archive: the model card, which describes an artifact to its users.

The front matter is that of model hubs
(https://huggingface.co/docs/hub/model-cards#model-card-metadata).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from pipeline.contract.kinds import ARTIFACT_WORDS
from pipeline.contract.schema import Card
from targets.release.hub import card_data
from targets.release.released_report import ReleasedReport
from targets.report.templates import markdown_environment
from targets.target import Target
from targets.use.asking import Asking

_TEMPLATE = "MODEL_CARD.md.j2"
_LIMIT_ENDINGS = ("_ms", "_bytes", "_seconds", "_per_second")


@dataclass(frozen=True)
class MadeFrom:
    """One input of the artifact, in words."""

    name: str
    value: str


def model_card(
    report: ReleasedReport,
    card: Card,
    target: Target,
    made_from: Sequence[MadeFrom],
    asking: Asking | None,
    root: str,
) -> bytes:
    """Return the card of one target's artifact. ``asking`` is ``None`` if it cannot be asked by
    ONNX Runtime; ``root`` is the name of its archive without the suffix."""
    environment = markdown_environment(Path(__file__).parent)
    environment.filters["limits"] = _limits
    text = environment.get_template(_TEMPLATE).render(
        report=report,
        card=card,
        words=ARTIFACT_WORDS[report.artifact],
        platform_words=target.description,
        made_from=made_from,
        asking=asking,
        root=root,
        unverified=report.unverified,
        gaps=list(_gaps(report, card)),
        front=card_data(report, card, f"{report.build} {report.version}").to_yaml(),
    )
    return text.encode()


def _gaps(report: ReleasedReport, card: Card) -> Iterator[str]:
    """Yield the gaps that a reader must know: what is unverified or not stated."""
    yield from (f"unverified: {reason}" for reason in report.unverified)
    yield from report.notes
    if not report.quality:
        yield "no quality was measured"
    stated = {"artifact": card.license, "base model": card.model_license, "data": card.data_license}
    missing = [name for name, licence in stated.items() if not licence]
    if missing:
        yield f"licence not stated: {', '.join(missing)}"
    if not card.limitations:
        yield "nobody wrote down its limitations"


def _limits(params: Mapping[str, JsonValue]) -> str:
    """Return the limits of a timed check, in words."""
    set_limits = {
        name: value
        for name, value in params.items()
        if isinstance(value, (int, float))
        and name.endswith(_LIMIT_ENDINGS)
        and name != "max_seconds"
    }
    limits = [f"{name} ≤ {value:g}" for name, value in sorted(set_limits.items())]
    usual = params.get("usual_limits")
    if isinstance(usual, dict) and params.get("target_limits", True):
        limits += [
            f"{name}: the target's default" for name in sorted(usual) if name not in set_limits
        ]
    return ", ".join(limits) or "–"
