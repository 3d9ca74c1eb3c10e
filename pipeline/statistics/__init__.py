"""Intervals, paired comparisons and percentiles."""
