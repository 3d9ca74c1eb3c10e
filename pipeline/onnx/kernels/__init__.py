"""Which kernels the execution providers have: tables of ONNX Runtime, and how to read them."""
