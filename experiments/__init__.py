"""The command line, one run, its protocol, metrics, records and tracking."""
