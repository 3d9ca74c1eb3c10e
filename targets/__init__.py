"""The host side: the targets, and the driver that plans, runs and reports a build.

Never imports torch, transformers or onnxruntime; it starts in well under a second.
"""
