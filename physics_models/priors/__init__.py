"""What a structured model is told about a system, and how wrong it is: one kind of prior a file, found by discovery."""
