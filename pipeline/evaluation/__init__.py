"""Scores the answers of a model, the same way for PyTorch and ONNX Runtime."""
