"""How well a model reads plain English: what a fine-tune for one task should leave as it is.

The text was written for this project and is under its licence. It is read, not asked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from pipeline.contract.frozen import Frozen

if TYPE_CHECKING:
    from pipeline.evaluation.scores import Answerer

READING_FILE = "reading.json"
"""File that the ``evaluate`` pass writes into its output folder: a :class:`Reading`."""

LONGEST = 256
"""Tokens of a passage that are read at most: with byte-like vocabularies it is cut."""

_KNOWN = 0.5
"""A model that knows English loses less than this share of what guessing loses."""
_LOST = 700.0
"""The loss of a model whose logits are no numbers: about the largest of which a power is one."""

PASSAGES = (
    "The ferry left the harbour at seven, an hour later than it should have, because the fog would "
    "not lift. Most of the passengers stayed below, where it was warm and smelled of coffee. Anna "
    "stood on deck with her collar up and counted the buoys until she could no longer see them. "
    "When the island came out of the mist, it was smaller than she remembered, and somebody had "
    "painted the lighthouse red.",
    "Bread needs flour, water, salt and time. Mix the first three, cover the bowl, and leave it "
    "alone until the dough has doubled in size. Fold it a few times so that it becomes smooth, "
    "shape it, and let it rest once more. A very hot oven makes the crust, and a cup of water "
    "poured into a tray below gives the steam that keeps it thin. Do not cut the loaf while it is "
    "hot, however good it smells.",
    "Water expands when it freezes, which is unusual: most substances take less room as a solid. "
    "That is why ice floats, why pipes burst in winter, and why a lake freezes from the top. Under "
    "the ice the water stays at about four degrees, and fish live through the cold there. If ice "
    "sank, lakes would fill with it from the bottom, and little would survive in them.",
    "Dear neighbours, on Saturday we are going to move in above the bakery, and it will be loud. "
    "The van comes at nine, and we hope to be done by two. If you need the stairs for something "
    "large, please ring us first. In the evening there will be soup and music, and all of you are "
    "invited. Children are welcome, and so are dogs. We look forward to meeting you.",
    "The council met for the third time this month to talk about the bridge. Repairing it would "
    "cost two million and take a year; a new one would cost five and take three. Several members "
    "said that the old bridge was part of the town. Others answered that a town needs a bridge "
    "that lorries can cross. In the end they voted to ask an engineer, and to meet again in "
    "October.",
    '"Did you lock the door?" he asked. "I thought you did," she said. They looked at each other, '
    "and then at the clock. The train would leave in twelve minutes, and the house was ten minutes "
    'away. "Nobody will notice," he said, not very sure. "The last time you said that," she '
    'answered, "we had a goat in the kitchen." He laughed, and took out his telephone to call his '
    "brother.",
    "A list is in order if no element is smaller than the one before it. To sort one, divide it "
    "into two halves, sort each of them in the same way, and merge the two: compare the first "
    "elements, take the smaller one, and repeat until one half is empty. A list of one element is "
    "sorted already, so the work ends. With a thousand elements that takes about ten thousand "
    "comparisons, far fewer than a million.",
    "In spring the river rises by more than a metre, and the meadows along it become a shallow "
    "lake. Storks come first, then ducks, and by the end of April there are so many birds that "
    "people travel from the city to see them. Farmers used to build walls against the water. "
    "Today they are paid to leave the land as it is, since a field that is flooded keeps the "
    "villages downstream dry.",
    "To return the parcel, print the label and put it over the old one. You have thirty days from "
    "the day on which it arrived. Take it to any post office, and keep the receipt until your "
    "money is back, which may take two weeks. If something was broken when you opened the box, "
    "write to us before you send it, and add a picture. We will send you a new one at once.",
    "My grandfather repaired watches for fifty years and was late for everything. He said that "
    "somebody who knows how a clock works can no longer believe in it. On his bench there were "
    "always three or four of them, open, each with another time. When I asked which one was right, "
    "he listened to all of them, thought about it for a while, and told me that it was time for "
    "lunch.",
)


class Reading(Frozen):
    """How well a model read the text."""

    loss: float = Field(ge=0)
    """Mean negative log-probability per token, natural logarithm."""
    tokens: int = Field(ge=1)
    vocabulary: int = Field(ge=2)
    """Number of tokens among which a model chooses."""

    @property
    def perplexity(self) -> float:
        """Return ``exp(loss)``, up to about the largest power that a float has room for."""
        return math.exp(min(self.loss, _LOST))

    @property
    def knows(self) -> bool:
        """Return whether the model knows the language of the text at all, so that it has something
        to lose."""
        return self.loss < _KNOWN * math.log(self.vocabulary)

    def save(self, folder: Path) -> None:
        """Write :data:`READING_FILE` into ``folder``."""
        (folder / READING_FILE).write_text(self.model_dump_json(indent=1) + "\n", "utf-8")

    @classmethod
    def load(cls, folder: Path) -> Reading | None:
        """Read :data:`READING_FILE` from ``folder``; ``None`` if it has none."""
        file = folder / READING_FILE
        return cls.model_validate_json(file.read_text("utf-8")) if file.is_file() else None


def read(
    answerer: Answerer, encode: Callable[[str], list[int]], context: int | None, vocabulary: int
) -> Reading:
    """Return how well a model with room for ``context`` tokens reads :data:`PASSAGES`.

    Each is read by itself, and its first token is given. ``encode`` makes the ids of a text that
    stands by itself.
    """
    room = min(LONGEST, context or LONGEST)
    texts = [encode(passage)[:room] for passage in PASSAGES]
    losses: list[float] = []
    for asked in answerer.ask([ids[:1] for ids in texts], room):
        rest: Sequence[Sequence[Sequence[int]]] = [[texts[number][1:]] for number in asked.indices]
        losses += (-value for (values,) in asked.logprobs(rest) for value in values)
    mean = sum(losses) / len(losses)
    loss = mean if math.isfinite(mean) else _LOST
    return Reading(loss=loss, tokens=len(losses), vocabulary=vocabulary)
