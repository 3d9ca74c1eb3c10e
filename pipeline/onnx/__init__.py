"""What the model builder pass and the checks share about ONNX Runtime GenAI model folders."""
