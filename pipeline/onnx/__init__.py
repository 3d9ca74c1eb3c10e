"""Reads and runs ONNX Runtime GenAI model folders: graphs, matrices, sessions, tokenizers."""
