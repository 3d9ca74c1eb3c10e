"""Brings artifacts to the Hugging Face hub, with the model card that it reads."""
