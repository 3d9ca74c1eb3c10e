"""New projects: looks at a model and a data file, and writes a config that builds."""
