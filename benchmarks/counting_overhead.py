"""What counting costs: a counted training chunk over the same chunk uncounted, and seconds of tracing.

The program is the default flocking neural ODE's chunk of training steps, whose length is data (so that counters run),
as `learners.backends.jax_engine` compiles it, and an adaptive solver's, with loops inside loops. Pairs are taken in
turn, in alternating order, so that a drift of the machine hits both alike, and in processor seconds, which other
programs do not add to; the plain program against a second copy of itself says how far ratios scatter by themselves.
The least time of each against the other's is least disturbed by other programs.
A program whose loops all have fixed lengths must compile to the same text counted and uncounted: then there is
nothing to time.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from statistics import median, quantiles
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.task import Protocol, Task, simulated
from hardware import energy
from hardware.devices import Device, resolve
from hardware.flops_jax import count
from hardware.meter import Meter
from learners.backends.base import Recipe
from learners.backends.jax_engine import JaxEngine
from learners.learner import CHUNK_SECONDS, Learner
from learners.models.neural_ode import NeuralOde
from physics_models.flocking import Flocking

STEPS, TRACES = 50, 3
PAIRS = {"rk4": 301, "dopri5": 61}  # of each solver: a step of the second takes 8 times as long
RECIPE = Recipe()


def measure() -> dict[str, Any]:
    task = simulated("flocking", Flocking(), Protocol(n_train=64, n_val=2, n_test=2), None)
    figures: dict[str, Any] = {}
    for solver, pairs in PAIRS.items():
        engine = _engine(task, solver)
        programs = [_chunk(engine, counted) for counted in (True, False, False)]
        counted, plain, again = (run for run, _ in programs)
        label = f"flocking neural_ode, {solver}"
        figures[f"{label}: counted / plain chunk of {STEPS} steps"] = _ratio(counted, plain, pairs)
        figures[f"{label}: plain / plain"] = _ratio(again, plain, pairs)
        figures[f"{label}: instructions, counted / plain"] = f"{programs[0][1]} / {programs[1][1]}"
        figures[f"{label}: seconds to trace a step, counted"] = _trace_seconds(engine, counted=True)
        figures[f"{label}: seconds to trace a step, plain"] = _trace_seconds(engine, counted=False)
        if solver == NeuralOde().solver:  # the default, whose steps are of fixed length
            figures[f"{label}: a step compiles to the same text, counted and plain"] = _same_text(engine)
    return figures | _meter() | _torch_share(task)


def _meter() -> dict[str, Any]:
    """What the learner asks of the meter for each chunk of about half a second: a phase, and a reading."""
    meter, rounds = Meter(energy.best(resolve("cpu"))), 2000

    def ask() -> None:
        for _ in range(rounds):
            with meter.phase("train"):
                pass
            meter.reading("train")

    each = min(_seconds(ask) for _ in range(5)) / rounds
    label = f"meter ({meter.energy_method})"
    return {f"{label}: a phase and a reading, µs": each * 1e6, f"{label}: share of a chunk": each / CHUNK_SECONDS}


def _torch_share(task: Task) -> dict[str, Any]:
    """torch counts a step once for each number of solver steps it meets: the first step against the later ones."""
    learner = Learner(NeuralOde(), task.info, RECIPE, task.points(1), [0], "torch")
    rng = np.random.default_rng(1)
    starts = rng.choice(task.points(1).starts, (1, 200, RECIPE.batch)).astype(np.int32)
    first = _seconds(lambda: learner.engine.train(starts[:, :1]))
    later = median(_seconds(lambda i=i: learner.engine.train(starts[:, i : i + 1])) for i in range(1, 60))
    label = "flocking neural_ode, torch"
    extra = (first - later) * 1e3
    return {
        f"{label}: ms more for the step that is counted": extra,
        f"{label}: share of 5000 steps": extra / (5e6 * later),
    }


def _engine(task: Task, solver: str) -> JaxEngine:
    model = NeuralOde(solver=solver)
    rng = np.random.default_rng(0)
    drawn = {name: spec.draw(rng) for name, spec in model.parts(task.info).items()}
    return JaxEngine(
        model, task.info, RECIPE, task.points(1), [drawn], "float32", Device("cpu", "the processor"), STEPS, 2, 2
    )


def _chunk(engine: JaxEngine, counted: bool) -> tuple[Callable[[], None], int]:
    """What runs a chunk of STEPS steps, and how many instructions the compiler made of it, fused ones included.

    Each call starts from the same state, so that adaptive steps are the same too.
    """

    def chunk(*args: Any) -> Any:  # a function of its own, so that each copy compiles anew
        return engine._chunk(*args)

    axes = (0, None, None, 0, None)
    function = count(jax.vmap(count(chunk), in_axes=axes)) if counted else jax.vmap(chunk, in_axes=axes)
    shape = engine._starts_shape()
    starts = np.random.default_rng(1).choice(engine.points.starts, shape.shape).astype(shape.dtype)
    arguments = (engine._state, engine._y, engine._t, jnp.asarray(starts), jnp.int32(STEPS))
    program = jax.jit(function).lower(*arguments).compile()
    instructions = sum(" = " in line for line in str(program.as_text()).splitlines())
    return lambda: jax.block_until_ready(program(*arguments)), instructions


def _ratio(first: Callable[[], None], second: Callable[[], None], pairs: int) -> str:
    for work in (first, second):
        work()
    times = []
    for i in range(pairs):
        order = (first, second) if i % 2 else (second, first)
        seconds = {work: _seconds(work, time.process_time) for work in order}
        times.append((seconds[first], seconds[second]))
    ratios = [a / b for a, b in times]
    low, _, high = quantiles(ratios, n=4)
    least = min(a for a, _ in times) / min(b for _, b in times)
    return f"{median(ratios):.4f} (quartiles {low:.4f} to {high:.4f}); least to least {least:.4f}"


def _seconds(work: Callable[[], Any], clock: Callable[[], float] = time.perf_counter) -> float:
    before = clock()
    work()
    return clock() - before


def _one_step(engine: JaxEngine) -> tuple[Any, ...]:
    state = jax.tree.map(lambda a: a[0], engine._state)
    return state, engine._y, engine._t, jnp.zeros(RECIPE.batch, jnp.int32)


def _trace_seconds(engine: JaxEngine, counted: bool) -> float:
    """Median; caches are emptied before each, so that each is a first trace."""
    arguments, seconds = _one_step(engine), []
    for _ in range(TRACES):
        jax.clear_caches()
        function = count(engine._step) if counted else engine._step
        seconds.append(_seconds(lambda function=function: jax.jit(function).trace(*arguments)))
    return median(seconds)


def _same_text(engine: JaxEngine) -> bool:
    """Optimised HLO, without the metadata that tell source lines."""
    texts = []
    for function in (engine._step, lambda *args: count(engine._step)(*args)[0]):
        text = str(jax.jit(function).lower(*_one_step(engine)).compile().as_text())
        text = re.sub(r", metadata=\{[^}]*\}", "", text).partition("\n")[2]  # the first line has the function's name
        texts.append(text.partition("FileNames")[0])
    return texts[0] == texts[1]
