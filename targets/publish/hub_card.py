"""``README.md`` of a repository on the hub: the model card, by the hub's own classes.

https://huggingface.co/docs/hub/model-cards
"""

from __future__ import annotations

from pathlib import Path

from pipeline.contract.schema import Card
from targets.figures import percent
from targets.release.hub import card_data, shares
from targets.report.report_schema import Report
from targets.report.templates import markdown_environment
from targets.use.program import Program


def hub_card(report: Report, card: Card, program: Program) -> str:
    """Return the card of the artifact of ``report``, which ``program`` asks."""
    environment = markdown_environment(Path(__file__).parent)
    title = f"{report.build} for {report.target}"
    text = environment.get_template("HUB_CARD.md.j2").render(
        report=report,
        card=card,
        program=program,
        shares={name: percent(share) for name, share in shares(report.quality)},
    )
    return f"---\n{card_data(report, card, title).to_yaml()}\n---\n\n{text}"
