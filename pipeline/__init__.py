"""The container side: the pass chain, the checks and the data preparation.

``python -m pipeline PLAN`` is the whole interface. Modules outside ``passes``, ``checks``,
``training`` and ``onnx`` import no machine-learning library, so the host can use them too.
"""
