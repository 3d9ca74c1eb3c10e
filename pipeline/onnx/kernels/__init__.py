"""Tables of the kernels that execution providers have, from ONNX Runtime, and their reader."""
