"""GenAI's model builder: its options, and its work one matrix at a time."""
