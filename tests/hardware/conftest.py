"""Counts are derived for JAX as it comes: our engines, once imported, switch on 64-bit types and full precision."""

from __future__ import annotations

from collections.abc import Iterator

import jax
import pytest

AS_IT_COMES = {"jax_enable_x64": False, "jax_default_matmul_precision": None}


@pytest.fixture(autouse=True, scope="module")  # before the fixtures of a module, which compile things too
def jax_as_it_comes() -> Iterator[None]:
    before = {name: getattr(jax.config, name) for name in AS_IT_COMES}
    for name, value in AS_IT_COMES.items():
        jax.config.update(name, value)
    yield
    for name, value in before.items():
        jax.config.update(name, value)


@pytest.fixture
def quick_compilation() -> Iterator[None]:
    """For programs that run for milliseconds and compile for seconds: counts do not depend on XLA's passes."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
