"""How the file of an adapter beside a model is named."""

from __future__ import annotations

SUFFIX = ".onnx_adapter"
"""Ending of the name of an adapter's file; what stands before it is the adapter's name."""
