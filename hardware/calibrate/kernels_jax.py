"""Kernels of known work and traffic, written in JAX, whose times a calibration is fitted to.

Each runs in a loop inside one compiled program, as training steps do: x ← step(x, …), n times, in place. Its data are
normal random numbers that stay so (products are with orthogonal matrices): zeros would take less time and less power.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from hardware.compiled_jax import fused
from hardware.flops_jax import static_cost

SLICE_S = 0.002  # a kernel's turn: long against the clock and the call, short against what else the machine does
MOST_STEPS = 1 << 20
DRAWN = 1 << 20  # numbers drawn; longer arrays repeat them


@dataclass
class Kernel:
    """One step: `flop` by kind, on arrays of `size` bytes in all; `bytes` and `kernels` come from the compiled loop."""

    name: str
    dtype: str
    size: float
    flop: dict[str, float]
    step: Callable[..., Any]
    state: Any
    rest: tuple[Any, ...]
    bytes: float = 0.0
    kernels: int = 0
    times: int = 1
    _compiled: Any = field(default=None, repr=False)

    def compile(self) -> None:
        def loop(n: Any, x: Any, *rest: Any) -> Any:
            return lax.fori_loop(0, n, lambda _, z: self.step(z, *rest), x)

        lowered = jax.jit(loop, donate_argnums=1).lower(np.int32(1), self.state, *self.rest)
        self._compiled = lowered.compile()
        moved = fused(self._compiled)  # of one round, since nothing in the program tells the loop's length
        self.bytes, self.kernels = moved.fused_bytes, moved.kernels
        self.times = _times(self.run)

    def run(self, times: int) -> float:
        """Seconds of `times` steps."""
        start = time.perf_counter()
        self.state = jax.block_until_ready(self._compiled(np.int32(times), self.state, *self.rest))
        return time.perf_counter() - start

    def turn(self) -> float:
        """Seconds a step."""
        return self.run(self.times) / self.times


def _times(run: Callable[[int], float]) -> int:
    """How many steps fill a turn, where `run(n)` makes n of them and returns their seconds.

    By processor time as well: on a busy machine a single step can look long, and be most of it waiting.
    """
    run(1)
    n = 1
    while n < MOST_STEPS:
        before = time.process_time()
        took = min(run(n) for _ in range(3))
        worked = (time.process_time() - before) / 3
        if took > SLICE_S / 4 and (worked > SLICE_S / 4 or took > 10 * SLICE_S):
            break
        n = min(16 * n, 1 + max(n, int(n * SLICE_S / max(min(took, worked), 1e-7))))
    return n


def kernels(
    sizes: tuple[int, ...], widths: tuple[int, ...], depths: tuple[int, ...], doubles: bool, reduced: str | None
) -> list[Kernel]:
    """Those a calibration is fitted to: `sizes` in bytes, `widths` of square products, `depths` of the sweep.

    The sweep x ← x/2 + y, repeated `depths` times a step, moves the same bytes at several intensities. `doubles`:
    float64 too. `reduced`: the precision in which the device multiplies float32 matrices by default, None if in full.
    """
    made = []
    for size in sizes:
        made += _elementwise(size, "float32", depths)
    made += [_reduction(size) for size in sizes[1:3]]
    for size in sizes[1:3] if doubles else ():
        made += _elementwise(size, "float64", depths[::2])
    made += [_product(n, "float32", "float32") for n in widths]
    if doubles:
        made += [_product(n, "float64", "float64") for n in widths]
    if reduced:
        made += [_product(n, "float32", reduced) for n in widths]
    return made


def _normal(shape: Any, dtype: str, seed: int) -> Any:
    drawn = np.random.default_rng(seed).standard_normal(min(DRAWN, int(np.prod(shape))))
    return jax.device_put(np.resize(drawn.astype(dtype), shape))


def _elementwise(size: int, dtype: str, depths: tuple[int, ...]) -> list[Kernel]:
    """Three arrays (x, y and the new x) of `size` bytes in all: the sweep, and transcendental functions."""
    width = np.dtype(dtype).itemsize
    n = size // (3 * width)
    made = []
    for depth in depths:

        def sweep(x: Any, y: Any, depth: int = depth) -> Any:
            for _ in range(depth):
                x = x * 0.5 + y
            return x

        made.append((f"sweep {depth}", {"elementwise": 2.0 * depth * n}, sweep))
    made.append(("transcendental", {"elementwise": 5.0 * n, "transcendental": 3.0 * n}, _functions))
    y = _normal((n,), dtype, 2)
    return [
        Kernel(f"{name} {dtype} {size}", dtype, size, flop, step, _normal((n,), dtype, 1), (y,))
        for name, flop, step in made
    ]


def _functions(x: Any, y: Any) -> Any:
    """Three transcendental operations on each element (a division is one), with five ordinary ones between them."""
    return y / (1.5 + jnp.square(jnp.exp(-jnp.abs(jnp.tanh(x + y)))))


def _reduction(size: int) -> Kernel:
    """Sums along rows and along columns."""
    rows = round((size / 12) ** 0.5)
    n = rows**2
    x, y = (_normal((rows, rows), "float32", seed) for seed in (1, 2))
    flop = {"elementwise": 4.0 * n, "reduction": 2.0 * n}
    return Kernel(f"reduction float32 {size}", "float32", size, flop, _centred, x, (y,))


def _centred(x: Any, y: Any) -> Any:
    return x * 0.5 + ((y - 0.001 * jnp.sum(x, 0)) - 0.001 * jnp.sum(x, 1, keepdims=True))


def _product(n: int, dtype: str, runs_in: str) -> Kernel:
    small, large = (np.linalg.qr(np.random.default_rng(m).standard_normal((m, m)))[0] for m in (n // 32, 32))
    orthogonal = jax.device_put(np.kron(small, large).astype(dtype))  # quicker to make than by one large factorisation
    size = 3.0 * n * n * np.dtype(dtype).itemsize
    flop = {"matmul": 2.0 * n**3}
    precision = lax.Precision.HIGHEST if runs_in == dtype else lax.Precision.DEFAULT

    def step(x: Any, y: Any) -> Any:
        return jnp.matmul(x, y, precision=precision)

    return Kernel(f"matmul {runs_in} {n}", runs_in, size, flop, step, _normal((n, n), dtype, n), (orthogonal,))


def twice() -> Kernel:
    """One that is measured twice in every round, for an A/A test: what differs is noise."""
    return _elementwise(512 << 10, "float32", (8,))[0]


def tiny() -> Kernel:
    """A step of many small kernels, none of which can be fused with the next: what it costs to start one."""

    def step(x: Any, y: Any) -> Any:
        for _ in range(8):
            x = x * 0.5 + (y - 0.001 * jnp.sum(x))
        return x

    x, y = (_normal((1024,), "float32", seed) for seed in (3, 4))
    return Kernel("tiny", "float32", 12e3, {}, step, x, (y,))


@dataclass
class Call:
    """A program called as users call it, with what is counted of it."""

    name: str
    cost: Any
    fused_bytes: float
    kernels: int
    function: Any
    arguments: tuple[Any, ...]
    times: int = 1

    def run(self, times: int) -> float:
        """Seconds of `times` calls."""
        start = time.perf_counter()
        for _ in range(times):
            jax.block_until_ready(self.function(*self.arguments))
        return time.perf_counter() - start

    def turn(self) -> float:
        """Seconds a call."""
        return self.run(self.times) / self.times


def call(name: str, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Call:
    compiled = jax.jit(function).lower(*arguments).compile()
    moved = fused(compiled)
    made = Call(name, static_cost(function, *arguments), moved.fused_bytes, moved.kernels, compiled, arguments)
    made.times = _times(made.run)
    return made


def empty_call() -> Call:
    """The least that a jitted function can do: what a call from Python costs."""
    return call("call", lambda x: x + 1.0, (jax.device_put(np.float32(0)),))
