"""An author's own functions, as Olive's users write them."""

from olive.data.registry import Registry  # type: ignore[import-not-found]


@Registry.register_dataset()  # type: ignore[untyped-decorator]
def counted_phrases(count: int, word: str) -> list[dict[str, str]]:
    return [
        {"phrase": f"{word} number {n}", "tone": "joy" if n % 2 else "fear"} for n in range(count)
    ]


def as_text(row: dict[str, str]) -> str:
    return f"Phrase: {row['phrase']} Tone: {row['tone']}"


def answered(answers: list[str], expected: list[str], least: int) -> dict[str, float]:
    """Return the share of answers that have at least ``least`` characters."""
    assert len(answers) == len(expected)
    return {"said": sum(len(answer) >= least for answer in answers) / len(answers)}
