"""Tokenizers of models that people use, fetched by hash: what the runtime makes of texts."""
