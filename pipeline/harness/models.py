"""Checkpoints and artifacts as models that lm-eval asks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.contract.errors import ArtifactError
from pipeline.data.tokenizer import load_artifact_tokenizer
from pipeline.harness.params import TaskParams
from pipeline.onnx.errors import raising_artifact_errors
from pipeline.onnx.genai_config import GenAiConfig

if TYPE_CHECKING:
    from pipeline.onnx.session import Session

_RUNNING = "onnxruntime_genai cannot run the model"


def checkpoint_model(model: Any, tokenizer: Any, params: TaskParams) -> Any:
    """Return a model of transformers' as lm-eval's ``hf``."""
    from lm_eval.api.registry import get_model

    return get_model("hf")(
        pretrained=model,
        tokenizer=tokenizer,
        batch_size=params.batch_size,
        max_length=params.max_length,
    )


def artifact_model(session: Session, folder: Path, params: TaskParams) -> Any:
    """Return an artifact, with ``session`` running it, as lm-eval's ``onnxruntime-genai``, asked as
    ``hf`` asks a checkpoint.

    The backend of lm-eval 0.4.13 itself adds no token in front of a text, where ``hf`` adds what
    the tokenizer does; takes the end and the beginning of a text from ``genai_config.json``, which
    may have another than the tokenizer; has no chat templates; and always writes as many tokens as
    an answer may have. All of this is replaced, and how the model is loaded and run.
    """
    from lm_eval.api.registry import get_model
    from lm_eval.models.utils import (
        handle_stop_sequences,
        normalize_gen_kwargs,
        postprocess_generated_text,
    )

    hugging_face: Any = get_model("hf")
    backend: Any = get_model("onnxruntime-genai")

    class Artifact(backend):  # type: ignore[misc] # lm-eval is not installed where types are checked
        """See :func:`artifact_model`."""

        add_bos_token = None
        chat_template_args: dict[str, Any] = {}  # noqa: RUF012 - as the other model has it
        tok_encode = hugging_face.tok_encode
        apply_chat_template = hugging_face.apply_chat_template

        @property
        def tokenizer_name(self) -> str:
            """Return a name, which lm-eval puts into its own notes."""
            return "artifact"

        def _load_tokenizer(self) -> None:
            self.tokenizer = load_artifact_tokenizer(folder)
            self._eot_token_id = self.tokenizer.eos_token_id
            self._bos_token_id = self.tokenizer.bos_token_id

        def _load(self) -> None:
            """Do nothing: the session is there."""

        def _forward_logits(self, tokens: list[int]) -> Any:
            return all_logits(session, tokens)

        def tok_decode(self, tokens: Any, skip_special_tokens: bool = True) -> str:
            return str(self.tokenizer.decode(tokens, skip_special_tokens=skip_special_tokens))

        def generate_until(self, requests: Any, disable_tqdm: bool = False) -> list[str]:  # noqa: ARG002
            """Return the greedy answers, each until one of the texts that its task stops at."""
            end = self.tok_decode([self.eot_token_id], skip_special_tokens=False)
            answers = []
            for context, options in (request.args for request in requests):
                chosen = normalize_gen_kwargs(options, self.max_gen_toks)
                stops = handle_stop_sequences(chosen.pop("until", None), eos=end)
                budget = chosen["max_gen_toks"]
                prompt = self.tok_encode(context)[-max(1, self.max_length - budget) :]
                text = self._until(prompt, budget, stops)
                answers.append(postprocess_generated_text(text, stops, None))
                self.cache_hook.add_partial("generate_until", (context, options), answers[-1])
            return answers

        def _until(self, prompt: list[int], budget: int, stops: Sequence[str]) -> str:
            ids: list[int] = []
            text = ""
            for token in session.stream(prompt, budget):
                ids.append(token)
                text = self.tok_decode(ids)
                if any(stop and stop in text for stop in stops):
                    break
            return text

    try:
        longest = params.max_length or GenAiConfig(folder).context
    except ValueError as error:
        raise ArtifactError(str(error)) from error
    return Artifact(pretrained=str(folder), max_length=longest)


def all_logits(session: Session, ids: Sequence[int]) -> Any:
    """Return the logits after each of ``ids``: shape (tokens, vocabulary), fp32.

    One run gives them, unless the graph has only those after the last token of a prompt.
    """
    import numpy as np

    with raising_artifact_errors(_RUNNING):
        generator = session.generator(len(ids) + 1)
        generator.append_tokens(np.asarray(ids, dtype=np.int32))
        logits = np.asarray(generator.get_output("logits"), dtype=np.float32)[0]
    return logits if len(logits) == len(ids) else session.logits(ids, len(ids))
