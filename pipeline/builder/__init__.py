"""Runs GenAI's model builder: its options, and quantization one matrix at a time."""
