"""Which texts a model is run on, to see what its matrices multiply: some of the training part."""

from __future__ import annotations

from pipeline.contract.errors import StepError
from pipeline.contract.step import Inputs
from pipeline.data.parts import parts_of
from pipeline.data.refusals import Refusals
from pipeline.data.split import sample
from pipeline.data.tokenize import Codec, encoded
from pipeline.training.plain_texts import TEXTS


def calibration_rows(
    inputs: Inputs, codec: Codec, count: int, max_length: int
) -> list[tuple[int, ...]]:
    """Return the tokens of ``count`` rows of the training part, chosen at random by the seed, each
    cut after ``max_length``.

    A row that is held out as well, as two files may have it, is left out: what is measured there
    must not have been looked at before. Where there is nothing to train on, they are those of
    :data:`TEXTS`. Raises :class:`StepError` where no row is left.
    """
    if inputs.data is None or not inputs.data.spec.trains:
        texts = TEXTS[:count]
        inputs.report.warn(
            f"there are no rows to train on: {len(texts)} texts in plain English, which come with "
            "Quern, are looked at in place of yours"
        )
        return [tuple(codec.whole_text_ids(text)[:max_length]) for text in texts]
    parts = parts_of(inputs)
    held_out = {example.text for example in parts.eval}
    drawn = sample(parts.train, count, inputs.seed)
    some = [example for example in drawn if example.text not in held_out]
    if len(some) < len(drawn):
        inputs.report.warn(
            f"{len(drawn) - len(some)} of {len(drawn)} rows that were drawn of the training part "
            "are held out as well, and are not looked at"
        )
    if not some:
        raise StepError(
            "no row of the training part is left to round weights for",
            "lower split.eval, or take the rows that are held out of the training part",
            "bad_input",
        )
    refused = Refusals()
    with refused.collected():
        rows = [tuple(tokens.ids)[:max_length] for _, tokens, _ in encoded(some, codec, refused)]
    refused.require_none()
    return rows
