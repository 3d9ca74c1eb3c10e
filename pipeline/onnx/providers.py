"""Names of execution providers. Free of any ML library at its top.

The model builder and ``genai_config.json`` write ``cuda`` for what ONNX Runtime calls
``CUDAExecutionProvider``: https://onnxruntime.ai/docs/genai/reference/config.html
"""

from __future__ import annotations

_SUFFIX = "ExecutionProvider"


def is_provider(name: str, provider: str) -> bool:
    """Return whether ``name`` is ONNX Runtime's name of ``provider``."""
    return name.removesuffix(_SUFFIX).casefold() == provider.casefold()


def onnxruntime_name(provider: str) -> str:
    """Return ONNX Runtime's name of ``provider``; ``provider`` itself if there is none."""
    from onnxruntime import get_all_providers

    return next(
        (str(name) for name in get_all_providers() if is_provider(name, provider)), provider
    )
