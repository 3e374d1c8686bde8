"""Trap: compile, evaluate, tune outside their phase or counted twice. At the run, not at the meter alone."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import pytest

from hardware.meter import PHASES, Meter
from learners.discovery import models
from learners.learner import Budget
from tests.learners.conftest import RECIPE, held_out, make_learner

OPTIONS: dict[str, dict[str, Any]] = {"mlp": {"width": 4}, "neural_ode": {"width": 4}, "hybrid_ode": {"width": 4}}
MODELS = ["mlp", "neural_ode", "hybrid_ode", "linear", "true_physics"]


class Compilations(logging.Handler):
    """What XLA compiled, from JAX's own log."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if "Finished XLA compilation" in record.getMessage():
            self.seen.append(record.getMessage())


@pytest.fixture
def compilations() -> Iterator[Compilations]:
    handler, log = Compilations(), logging.getLogger("jax._src.dispatch")
    log.addHandler(handler)
    with jax.log_compiles(True):
        yield handler
    log.removeHandler(handler)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", MODELS)
def test_trap_nothing_of_weight_is_compiled_while_training_or_predicting(name: str, compilations: Compilations) -> None:
    """`compile()` pays for it: else the first steps are charged seconds of compiling, and a joule budget is used up."""
    learner = make_learner(models.load(name)(**OPTIONS.get(name, {})), "jax")
    learner.compile()
    assert compilations.seen, "the log is read: something was compiled in its phase"
    compilations.seen.clear()
    for _ in learner.fit(Budget(sample=20 * RECIPE.batch), Meter()):
        pass
    learner.predict(*held_out())
    assert compilations.seen == []


def test_trap_phases_of_a_run_do_not_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluation between chunks is not training: the phases' seconds add up to no more than the clock's."""
    learner, meter = make_learner(models.load("mlp")(width=4), "torch"), Meter()
    begin = time.perf_counter()
    with meter.phase("compile"):
        learner.compile()
    slow_s, evaluations = 0.05, 0
    for progress in learner.fit(Budget(sample=40 * RECIPE.batch), meter):
        if progress.checkpoint:
            evaluations += 1
            with meter.phase("evaluate"):
                time.sleep(slow_s)
    took = time.perf_counter() - begin
    seconds = {name: meter.reading(name).seconds for name in PHASES}
    assert seconds["evaluate"] >= evaluations * slow_s
    assert sum(seconds.values()) <= took
    assert seconds["train"] <= took - evaluations * slow_s
    assert np.isclose(progress.seconds, seconds["train"])
