"""What the TPU compiler says, without a TPU: a matrix product on each generation, and training chunks of a neural ODE.

Every figure of cycles, seconds and shares is the compiler's estimate (modelled); only the compiler's own time is
measured. Where libtpu is absent nothing is.
"""

from __future__ import annotations

import itertools
import time
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from hardware import catalogue
from hardware.flops_jax import count
from hardware.tpu import GENERATIONS, TpuError, TpuProgram, compile_for

SIZE, LARGE, ROUNDS = 1024, 4096, 10
STEPS, BATCH, STATE, INTERVAL = 100, 128, 4, 0.5


def measure() -> dict[str, Any]:
    try:
        generations = {device: product_of(device) for device in GENERATIONS}
    except TpuError as error:
        print(error)
        return {"nothing measured": str(error)}
    chunks = {}
    for solver in ("rk4", "dopri5"):
        chunk, arguments = neural_ode_chunk(solver)
        tally = jax.jit(lambda *a, chunk=chunk: count(chunk)(*a)[1])(*arguments)
        for device in ("tpu_v5e", "tpu_v6e"):
            start = time.perf_counter()
            program = compile_for(chunk, *arguments, device=device, tally=tally)
            chunks[f"{solver} {device}"] = _facts(program) | {
                "executed_flop": tally.resolve().flop,
                "whole_s": time.perf_counter() - start,
            }
    return {"matrix_product": generations, "neural_ode_chunk": chunks}


def product_of(device: str) -> dict[str, Any]:
    """A product of 1024³: one of a scan's ten, its factors on the chip; and bfloat16 from and to main memory.

    The scan's products are of float32, one bfloat16 pass each. A chip of two cores that JAX sees as one (v4, v5p) does
    not share so small a product between them; `share_of_peak_large` is that of 4096³, from and to main memory.
    """
    square = jax.ShapeDtypeStruct((SIZE, SIZE), jnp.bfloat16)
    from_memory = compile_for(jnp.matmul, square, square, device=device)
    square = jax.ShapeDtypeStruct((LARGE, LARGE), jnp.bfloat16)
    large = compile_for(jnp.matmul, square, square, device=device)
    square = jax.ShapeDtypeStruct((SIZE, SIZE), jnp.float32)
    with jax.default_matmul_precision("default"):
        on_chip = compile_for(chain, square, square, device=device)
    entry, parts = catalogue.load(device), GENERATIONS[device].devices_per_chip
    peak, clock_hz = entry.value("matrix_bfloat16_flop_per_s") / parts, entry.value("clock_hz")
    at_peak = 2 * SIZE**3 / peak * clock_hz
    each = on_chip.cycles.by_kind["matmul"] / ROUNDS
    return {
        "cycles_at_peak": round(at_peak),
        "cycles_on_chip": each,
        "share_of_peak_on_chip": at_peak / each,
        "cycles_from_memory": from_memory.cycles.total,
        "share_of_peak_from_memory": at_peak / from_memory.cycles.total,
        "share_of_peak_large": (LARGE / SIZE) ** 3 * at_peak / large.cycles.total,
        "seconds_from_memory": from_memory.seconds,
        "compile_s": from_memory.compile_s,
    }


def chain(a: jax.Array, b: jax.Array) -> jax.Array:
    return lax.scan(lambda c, _: (c @ b, None), a, None, length=ROUNDS)[0]


def neural_ode_chunk(solver: str) -> tuple[Any, tuple[Any, ...]]:
    """A training chunk (scan of 100 Adam steps, batch 128, 4 states, 2 × 64 tanh) and its arguments.

    rk4: 10 fixed steps, differentiated as they are. dopri5: diffrax, adaptive, recursive checkpoints.
    """
    rng = np.random.default_rng(0)
    widths = (STATE, 64, 64, STATE)
    params = [
        (jnp.asarray(rng.normal(size=(m, n)) / m**0.5, jnp.float32), jnp.zeros(n, jnp.float32))
        for m, n in itertools.pairwise(widths)
    ]
    optimiser = optax.adam(1e-3)

    def field(t: Any, y: jax.Array, params: Any) -> jax.Array:
        for w, b in params[:-1]:
            y = jnp.tanh(y @ w + b)
        return y @ params[-1][0] + params[-1][1]

    def adaptive(params: Any, y: jax.Array) -> jax.Array:
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(field), diffrax.Dopri5(), 0.0, INTERVAL, None, y, params,
            stepsize_controller=diffrax.PIDController(rtol=1e-4, atol=1e-5), max_steps=64, throw=False,
        )  # fmt: skip
        return jnp.asarray(solution.ys)[0]

    def fixed(params: Any, y: jax.Array) -> jax.Array:
        h = INTERVAL / 10

        def step(y: jax.Array, _: None) -> tuple[jax.Array, None]:
            k1 = field(0, y, params)
            k2 = field(0, y + h / 2 * k1, params)
            k3 = field(0, y + h / 2 * k2, params)
            k4 = field(0, y + h * k3, params)
            return y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4), None

        return lax.scan(step, y, None, length=10)[0]

    advance = {"rk4": fixed, "dopri5": adaptive}[solver]

    def chunk(params: Any, state: Any, starts: jax.Array, ends: jax.Array) -> Any:
        def step(carry: Any, batch: Any) -> Any:
            params, state = carry
            loss, gradient = eqx.filter_value_and_grad(lambda p: jnp.mean((advance(p, batch[0]) - batch[1]) ** 2))(
                params
            )
            updates, state = optimiser.update(gradient, state, params)
            return (optax.apply_updates(params, updates), state), loss

        return lax.scan(step, (params, state), (starts, ends))

    data = jnp.asarray(rng.normal(size=(2, STEPS, BATCH, STATE)), jnp.float32)
    return chunk, (params, optimiser.init(params), data[0], data[1])


def _facts(program: TpuProgram) -> dict[str, Any]:
    return {
        "compile_s": program.compile_s,
        "cycles": program.cycles.total,
        "seconds": program.seconds,
        "by_kind": {kind: round(share, 3) for kind, share in program.cycles.shares().items()},
        "mxu_fill": program.cycles.mxu_fill,
        "padding": program.padding,
        "fused_bytes": program.fused.fused_bytes,
        "kernels": program.fused.kernels,
        "unknown_loops": len(program.unknown_loops),
        "unestimated_share": program.cycles.unestimated_share,
    }


def table(figures: dict[str, Any]) -> str:
    """The matrix products as docs/accounting.md shows them."""
    rows = [
        "| | cycles at peak | factors on the chip | from memory | 4096³, from memory |",
        "| --- | --: | --: | --: | --: |",
    ]
    for device, f in figures["matrix_product"].items():
        on_chip, memory, large = (f"share_of_peak_{where}" for where in ("on_chip", "from_memory", "large"))
        rows.append(
            f"| `{device}` | {f['cycles_at_peak']:,} | {f['cycles_on_chip']:,.0f} ({f[on_chip]:.2f}) | "
            f"{f['cycles_from_memory']:,} ({f[memory]:.2f}) | {f[large]:.2f} |"
        )
    return "\n".join(rows)
