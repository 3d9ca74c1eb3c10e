"""Reading and asking ONNX Runtime GenAI model folders: graphs, matrices, sessions, tokenizers."""
