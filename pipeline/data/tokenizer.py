"""Loads the tokenizer of a model folder, never from a hub."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.contract.errors import ArtifactError, StepError
from pipeline.process.causes import out_of_memory


def load_tokenizer(folder: Path, trust_remote_code: bool = False) -> Any:
    """Return the transformers tokenizer of a checkpoint folder, with a padding token.

    Raises :class:`StepError` of the cause ``bad_input`` if it cannot be loaded.
    """

    def refused(message: str) -> StepError:
        return StepError(f"the model's tokenizer cannot be loaded: {message}", cause="bad_input")

    tokenizer = _load(folder, trust_remote_code, refused)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_artifact_tokenizer(folder: Path) -> Any:
    """Return the transformers tokenizer of an artifact's folder. Never runs code that lies there.

    It is what ``tokenizer.json`` says: the class in the folder is the one by which ONNX Runtime
    GenAI knows the tokenizer, and transformers would make another one of it.
    Raises :class:`ArtifactError` if it cannot be loaded.
    """

    def refused(message: str) -> StepError:
        return ArtifactError(f"the tokenizer cannot be loaded: {message}")

    as_it_is = (folder / "tokenizer.json").is_file()
    return _load(folder, trust_remote_code=False, refused=refused, as_it_is=as_it_is)


def load_checkpoint_tokenizer(folder: Path) -> Any:
    """Return the transformers tokenizer of a checkpoint as it is, to compare with an artifact's.

    Never runs code that lies there. Raises :class:`StepError` if it cannot be loaded.
    """

    def refused(message: str) -> StepError:
        return StepError(f"the checkpoint's tokenizer cannot be loaded: {message}")

    return _load(folder, trust_remote_code=False, refused=refused)


def _load(
    folder: Path,
    trust_remote_code: bool,
    refused: Callable[[str], StepError],
    as_it_is: bool = False,
) -> Any:
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    kind = PreTrainedTokenizerFast if as_it_is else AutoTokenizer
    try:
        return kind.from_pretrained(
            folder, local_files_only=True, trust_remote_code=trust_remote_code
        )
    except Exception as error:  # transformers raises whatever its parsers do
        if out_of_memory(error):
            raise
        raise refused(str(error)) from error
