"""Translates Microsoft Olive's config files: every key becomes part of a Quern config, or a line
that says why not."""
