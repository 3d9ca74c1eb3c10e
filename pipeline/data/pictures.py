"""What stands for a picture in a text."""

from __future__ import annotations

import re

PICTURE = re.compile(r"<image>|<\|image(?:_\d+)?\|>|<\|?image_pad\|?>|\[IMG\]|<image_soft_token>")
"""LLaVA, Phi-3 Vision and Llama, Qwen, Pixtral, Gemma."""
