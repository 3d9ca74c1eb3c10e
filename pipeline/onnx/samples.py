"""Texts with which tokenizers and models are tested."""

SAMPLES = (
    "Hello, world!",
    "  two  spaces\tand a tab\nand a new line\n",
    "Ünïcödé — naïve café, 東京, привет, 🙂👍🏽",
    "numbers 1234567890 3.14159 -42 1,000,000",
    "code: def f(x): return x**2  # comment",
    "can't won't it's I'll we've",
    "",
)
"""Texts that most wrong tokenizers split differently."""
