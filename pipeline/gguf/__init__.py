"""Reads GGUF files, llama.cpp's format: what they hold, their weights and their tokenizer."""
