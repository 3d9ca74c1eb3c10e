"""Reading Microsoft Olive's config files: every key of them becomes part of a Quern config, or a
line that says why not."""
