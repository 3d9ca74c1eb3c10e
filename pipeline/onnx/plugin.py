"""Execution providers that are libraries of their own, which a runtime loads when told to.

They come as packages ``onnxruntime_ep_PROVIDER``:
https://onnxruntime.ai/docs/execution-providers/plugin-ep-libraries/
"""

from __future__ import annotations

import importlib
import importlib.util
from functools import cache


@cache
def load_plugin(provider: str) -> None:
    """Have this process' runtime know ``provider``, if the toolchain has a plugin of it."""
    package = f"onnxruntime_ep_{provider}"
    if importlib.util.find_spec(package) is None:
        return
    import onnxruntime_genai

    plugin = importlib.import_module(package)
    name, library = plugin.get_ep_name(), plugin.get_library_path()
    onnxruntime_genai.register_execution_provider_library(name, library)
