"""Azure Machine Learning as a system: a job per run of steps, whose files travel as blobs."""
