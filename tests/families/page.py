"""Makes ``docs/models.md`` from the table of families: ``python -m tests.families.page``."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from tests.families.table import FAMILIES, TARGETS, Family
from tests.support.plans import ROOT
from tests.tokenizers.packages import NAMED, NPM, UNFIT

PAGE = ROOT / "docs" / "models.md"
_WIDTH = 100

_HEAD = """\
# Models

What becomes of the families of models that people bring. Each line is a small checkpoint, laid out
as the family's instruct models are on the hub: config, tokenizer, chat template and generation
settings with all that is peculiar to them. `./nox -s tests-families` fine-tunes, merges, quantizes
(int4) and checks each of them for every target. This page is made from the table that the test
holds.

- **proven**: no check fails, artifact and model agree on the logits of the same texts, and the
  runtime has the ids that transformers has for a chat. For cuda, directml and webgpu this is
  shown through the CPU provider; what only the device can show is `unverified`. The
  provider of webgpu generates too, on the CPU through SwiftShader.
- **built**: no check fails, but the graph has something that only its device can run.
- **refused**: the plan says why, before anything is trained.

The architectures that a model builder knows, and the settings of a config that it reads, are taken
from its sources when a toolchain is locked (`builder_options.json`): a newer builder changes what
is refused.

"""
_TOKENIZERS = """\
The tokenizers of these checkpoints are small ones of the same kind. Published ones, fetched by
their hash, are taken through builds for cpu and directml by `./nox -s tests-tokenizers`: {names}.
The runtime makes of texts in many scripts, and of conversations with and without a system turn, the
ids that transformers makes of them. It differs in three ways, and then a build ends with a failed
check (`tokenizer`, `prompt_ids`): where a tokenizer joins letters and accents first (NFC: Qwen) and
a prompt has them apart; where a raw prompt begins with blanks (Mistral 7B, Yi); and for {wrong},
whose rules to split a text the locked runtime does not follow.
"""
_TAIL = """\

Refused for every target: models of images or sound, encoders, models with an encoder and a decoder,
classifiers, models without a head, and weights that are quantized already.
"""


def page() -> str:
    """Return the text of the page."""
    lines = [
        f"| family | architecture | {' | '.join(TARGETS)} |",
        f"| --- | --- |{' --- |' * len(TARGETS)}",
        *(_line(family) for family in FAMILIES),
    ]
    notes = "".join(f"- {note}\n" for note in _notes())
    names = ", ".join(tokenizer.title for tokenizer in NPM)
    wrong = ", ".join(f"{NAMED[name].title} on {target}" for name, target in UNFIT)
    text = _TOKENIZERS.format(names=names, wrong=wrong)
    tokenizers = textwrap.fill(text, _WIDTH, break_on_hyphens=False)
    return f"{_HEAD}{chr(10).join(lines)}\n\n{notes}\n{tokenizers}\n{_TAIL}"


def _line(family: Family) -> str:
    words = " | ".join(family.result(target).word for target in TARGETS)
    return f"| {family.title} | `{family.config['architectures'][0]}` | {words} |"


def _notes() -> Iterator[str]:
    """Yield, for each family that is not proven everywhere, why."""
    for family in FAMILIES:
        whys: dict[str, list[str]] = {}
        for target in TARGETS:
            whys.setdefault(family.result(target).why, []).append(target)
        for why, targets in whys.items():
            if why:
                yield f"{family.title} on {', '.join(targets)}: {why}."


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
