"""Readers of data files, and the examples of data that are shipped."""
