"""Figures that the project promises, measured: `make bench`. Not timed tests: they report, and a person reads them."""
