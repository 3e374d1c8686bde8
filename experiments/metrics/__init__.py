"""Measures of error and of behaviour, one a file; the file's name is the metric's name in tables and records."""
