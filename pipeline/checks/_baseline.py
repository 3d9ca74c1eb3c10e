"""The baseline of the checks that run one beside the artifact."""

from __future__ import annotations

from pathlib import Path


def loadable_baseline(path: Path, artifact: Path) -> Path:
    """Return the model folder of the baseline at ``path``.

    Raises :class:`pipeline.contract.errors.StepError` if that is none; if it was built for another
    device than the artifact, other than the CPU, which runs on every machine; and if it would load
    native code or name files outside of it in a way that the artifact does not.
    """
    from pipeline.builder.session_code import session_code
    from pipeline.contract.errors import StepError
    from pipeline.onnx.baseline import baseline_folder
    from pipeline.onnx.genai_config import GenAiConfig

    folder = baseline_folder(path)
    try:
        theirs = GenAiConfig(folder)
    except ValueError as error:
        raise StepError(f"the baseline cannot be used: {error}", cause="bad_input") from error
    ours = GenAiConfig(artifact)
    if theirs.provider not in ("cpu", ours.provider):
        raise StepError(
            f"the baseline was built for {theirs.provider}, the artifact for {ours.provider}: the "
            "two cannot run side by side",
            "compare with an artifact for the CPU or for the same target",
            "bad_input",
        )
    trusted = set(session_code(ours.raw))
    for problem in session_code(theirs.raw):
        if problem not in trusted:
            raise StepError(
                f"the baseline's genai_config.json: {problem}",
                "remove it from there, or compare with another artifact",
                "bad_input",
            )
    return folder
