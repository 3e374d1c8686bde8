"""Dynamical systems: equations, reference trajectories, invariants, known terms."""
