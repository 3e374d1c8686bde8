"""Models, the backends they run on and the rules they learn by."""
