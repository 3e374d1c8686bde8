"""What `show` draws of one task: its motion, its invariants, and what wrong priors make of it."""
