"""Programs compiled by the real TPU compiler, which runs on any machine that has libtpu; nothing here needs a TPU."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from benchmarks.tpu import ROUNDS, SIZE, chain, neural_ode_chunk
from hardware import catalogue
from hardware.flops_jax import count
from hardware.hlo import parse
from hardware.hlo.walk import execute
from hardware.tpu import GENERATIONS, TpuError, TpuProgram, compile_for, compiler
from hardware.tpu.compiler import last_words, one_line
from hardware.tpu.cycles import cycles_of

ABSENT = [name for name in ("libtpu", "flatbuffers") if importlib.util.find_spec(name) is None]
needs_libtpu = pytest.mark.skipif(
    bool(ABSENT), reason=f"the TPU compiler is absent ({', '.join(ABSENT)}): {compiler.GET_IT}, and run these again"
)


def float32(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def cycles_at_peak(device: str, flop: float) -> float:
    entry = catalogue.load(device)
    peak = entry.value("matrix_bfloat16_flop_per_s") / GENERATIONS[device].devices_per_chip
    return flop / peak * entry.value("clock_hz")


# -- one program, looked at from all sides --


@pytest.fixture(scope="module")
def product() -> TpuProgram:
    """Ten float32 products of 1024³ in a scan, each one bfloat16 pass, its factors in vector memory."""
    with jax.default_matmul_precision("default"):
        return compile_for(chain, float32(SIZE, SIZE), float32(SIZE, SIZE), device="tpu_v5e")


@needs_libtpu
def test_a_product_takes_the_time_of_peak_rate(product):
    """16,640 cycles on v5e: 2·1024³ FLOP at 197 TFLOP/s are 16,351 at 1.5 GHz. The issue allows 20%."""
    assert product.cycles.by_kind["matmul"] / ROUNDS == pytest.approx(cycles_at_peak("tpu_v5e", 2 * SIZE**3), rel=0.2)
    assert product.cycles.total >= product.cycles.by_kind["matmul"]
    assert sum(product.cycles.shares().values()) == pytest.approx(1)


@needs_libtpu
def test_seconds_and_joules_are_cycles_over_the_clock_times_watts(product):
    entry = catalogue.load("tpu_v5e")
    assert product.seconds == pytest.approx(product.cycles.total / entry.value("clock_hz"))
    watts = entry.get("busy_w")
    if watts is None:
        assert product.energy_j is None
        assert any("busy_w" in note for note in product.notes)
    else:
        assert product.energy_j.value == pytest.approx(product.seconds * watts.value)
        assert product.energy_j.low <= product.energy_j.value <= product.energy_j.high
    assert product.method.startswith("modelled")


@needs_libtpu
def test_precision_is_said(product):
    """Each of the ten float32 products is one bfloat16 product: it is part of the match."""
    assert product.cycles.products == {1: ROUNDS}
    assert any("precision" in note and "bfloat16" in note for note in product.notes)


@needs_libtpu
def test_memory_is_what_the_arguments_and_results_take(product):
    matrix = SIZE * SIZE * 4
    assert product.memory.argument_bytes == 2 * matrix
    assert product.memory.output_bytes == matrix
    assert product.memory.limit_bytes == catalogue.load("tpu_v5e").value("memory_bytes")
    assert product.memory.fits
    assert product.padding == pytest.approx(0, abs=1e-3)  # 1024 is a multiple of 8 and of 128
    assert product.cycles.mxu_fill == 1.0
    assert product.fused.fused_bytes >= 3 * matrix


@needs_libtpu
def test_lines_are_for_people(product):
    lines = product.lines()
    assert lines[0].startswith("tpu_v5e") and "modelled" in lines[2]
    assert all(len(line) < 500 and "\n" not in line for line in lines)
    assert not any(noise in line for line in lines for noise in ("E0000", "WARNING", "learning/"))


# -- loops, precision, padding, callbacks --


@needs_libtpu
def test_measured_trips_of_a_loop_and_padding():
    """A loop that depends on data: unknown without a tally and named; with one, its cycles grow by its rounds."""

    def halve(x, w):
        return lax.while_loop(lambda c: c.sum() > 1, lambda c: 0.5 * jnp.abs(c @ w), x)

    x, w = jnp.full((100, 200), 1e-2), jnp.eye(200)
    _, tally = count(halve)(x, w)  # sums 200, 100, …, 0.78: 8 rounds
    rounds = int(tally.times[1])
    assert rounds == 8
    program = compile_for(halve, x, w, tally=tally)
    assert not program.unknown_loops
    blind = execute(parse(program.hlo))
    assert len(blind.unknown_loops) == 1 and blind.unknown_loops[0].endswith("loop_1/while")
    assert program.cycles.by_kind["matmul"] == rounds * cycles_of(blind, 128).by_kind["matmul"]
    assert program.cycles.products == {1: rounds}
    assert program.cycles.mxu_fill == pytest.approx((200 / 256) ** 2)
    assert program.padding is not None and program.padding > 0.05


def test_a_tally_of_another_program_is_refused():
    """Found before anything is compiled, from the prices of the program that is to be."""

    def turns(x, n):
        return lax.fori_loop(0, n, lambda i, x: jnp.sin(x), x)

    x, n = jnp.ones(8), jnp.int32(3)
    for foreign in (count(turns)(jnp.ones(9), n)[1], count(jnp.sin)(x)[1]):
        with pytest.raises(TpuError, match="this program at these shapes"):
            compile_for(turns, x, n, tally=foreign)


@pytest.mark.slow
@pytest.mark.timeout(300)
@needs_libtpu
@pytest.mark.parametrize(("precision", "passes"), [("high", 3), ("highest", 6)])
def test_the_bfloat16_products_of_a_float32_product(precision, passes):
    """The passes that the text says are those that the compiler's estimate pays for; the fixture above has 1."""
    with jax.default_matmul_precision(precision):
        program = compile_for(chain, float32(SIZE, SIZE), float32(SIZE, SIZE))
    assert program.cycles.products == {passes: ROUNDS}
    at_peak = passes * cycles_at_peak("tpu_v5e", 2 * SIZE**3)
    assert program.cycles.by_kind["matmul"] / ROUNDS == pytest.approx(at_peak, rel=0.3)  # more parts to add and to move


@pytest.mark.slow
@pytest.mark.timeout(300)
@needs_libtpu
def test_what_is_left_out_or_unknown_is_said():
    """Callbacks to the host, which have no place in a serialised program, and a loop whose trips nobody measured."""

    def noisy(x):
        def body(c, _):
            jax.debug.print("{}", c.sum())
            return jnp.sin(c) + jax.pure_callback(lambda v: v, float32(64, 64), c), None

        return lax.while_loop(lambda x: x.sum() > 1, jnp.cos, lax.scan(body, x, None, length=5)[0])

    program = compile_for(noisy, float32(64, 64))
    assert any(note.startswith("2 callback(s)") for note in program.notes)
    assert any("counted as one trip each: loop_1/while;" in note for note in program.notes)
    assert program.is_lower_bound and "at least" in program.lines()[1]
    assert program.cycles.by_kind["elementwise"] > 0


@pytest.mark.slow
@pytest.mark.timeout(300)
@needs_libtpu
@pytest.mark.parametrize("device", GENERATIONS)
def test_every_generation(device):
    """Compiles, and no estimate beats the peak by more than 1%. A function may be among the arguments."""
    program = compile_for(
        lambda f, a, b: f(a @ b), jnp.tanh, float32(SIZE, SIZE), jnp.ones((SIZE, SIZE)), device=device
    )
    assert program.cycles.total > 0.99 * cycles_at_peak(device, 2 * SIZE**3) and program.seconds is not None
    assert program.memory.fits
    said = [note for note in program.notes if "cores" in note]
    assert len(said) == (GENERATIONS[device].devices_per_chip > 1)


@pytest.mark.slow
@pytest.mark.timeout(300)
@needs_libtpu
@pytest.mark.timeout(300)
@pytest.mark.parametrize("solver", ["rk4", "dopri5"])
def test_a_training_chunk_of_a_neural_ode(solver):
    """100 steps with gradients. Fixed steps: 40 evaluations of 3 products forward, and twice that backward."""
    chunk, arguments = neural_ode_chunk(solver)
    tally = jax.jit(lambda *a: count(chunk)(*a)[1])(*arguments)
    start = time.perf_counter()
    program = compile_for(chunk, *arguments, tally=tally)
    assert time.perf_counter() - start < 100  # 3 to 5 s alone on two cores
    assert not program.unknown_loops
    assert program.cycles.unestimated_share < 0.1
    products = sum(program.cycles.products.values())
    if solver == "rk4":
        assert products == 100 * 3 * (40 * 3)
    else:
        steps = int(np.asarray(tally.times[1]))  # accepted and rejected, all 100 training steps together
        assert steps >= 100
        assert products >= steps * 6 * 3 * 3


# -- what goes wrong --


@pytest.mark.parametrize(
    ("device", "said"),
    [("tpu_v5", "did you mean tpu_v5"), ("h100", "must be one of tpu_v2"), ("TPU_V5E", "did you mean tpu_v5e")],
)
def test_an_unknown_device(device, said):
    with pytest.raises(TpuError, match=said):
        compile_for(jnp.sin, float32(8), device=device)


def test_libtpu_absent(monkeypatch):
    monkeypatch.setattr(compiler.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(TpuError, match=r"needs libtpu, which is not installed; pip install .*\[tpu\]"):
        compile_for(jnp.sin, float32(8))


@needs_libtpu
def test_a_function_that_cannot_be_traced():
    with pytest.raises(
        TpuError, match=r"device=tpu_v5e: the program cannot be lowered for a TPU: .*\(64,\) and \(7,\)"
    ):
        compile_for(lambda x: x @ jnp.ones((7, 7)), float32(64, 64))


@needs_libtpu
def test_a_topology_that_libtpu_refuses(monkeypatch):
    monkeypatch.setitem(GENERATIONS, "tpu_v5e", compiler.Generation("v9z:2x2", "v9z-4", 1, 128))
    with pytest.raises(TpuError, match=r"libtpu refuses the topology v9z:2x2: .*v9z") as caught:
        compile_for(jnp.sin, float32(8))
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.timeout(300)
@needs_libtpu
def test_a_program_that_needs_too_much_memory():
    with pytest.raises(TpuError, match=r"the TPU compiler refuses the program: .*memory"):
        compile_for(lambda x: x @ x.T, float32(200_000, 8))


WORKERS = {
    "import time; time.sleep(60)": "must end within timeout_s=0.5 s, and it did not",
    "import sys; print('noise\\nF0000 no such chip\\nmore', file=sys.stderr); sys.exit(3)": "died: F0000 no such chip$",
    "import sys; sys.exit(7)": "died: exit status 7",
}


@pytest.mark.parametrize("code", WORKERS)
def test_a_compiler_that_hangs_or_dies(code, tmp_path: Path, monkeypatch):
    worker = tmp_path / "worker.py"
    worker.write_text(code)
    monkeypatch.setattr(compiler, "WORKER", worker)
    start = time.perf_counter()
    limit = 0.5 if "sleep" in code else 30.0
    with pytest.raises(TpuError, match=WORKERS[code]):
        compiler.compile_apart("tpu_v5e", GENERATIONS["tpu_v5e"], b"", False, limit)
    assert time.perf_counter() - start < 20


def test_errors_and_last_words_are_one_line():
    assert one_line("\nValueError: must\tbe 3\n  at f") == "ValueError: must be 3"
    assert last_words("E0000 failed to map\nnote\n") == "E0000 failed to map"
    assert last_words("") == one_line("") == ""


def test_the_table_knows_what_the_catalogue_knows():
    for device, generation in GENERATIONS.items():
        entry: Any = catalogue.load(device)
        assert entry.kind == "tpu"
        parts = entry.get("devices_per_chip")
        assert generation.devices_per_chip == (1 if parts is None else parts.value)
