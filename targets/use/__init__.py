"""Programs that use an artifact, in several languages: what is written beside it into `use/`."""
