"""The parser of optimised HLO, the trips read from it, and the walk: on trimmed output of three compilers.

tests/hardware/hlo: cpu_scan and tpu_v5e are what jaxlib 0.10.2 and libtpu 0.0.42.1 printed, gpu_gemm is written by hand
in the GPU compiler's manner (no NVIDIA GPU was at hand), with a string for a backend_config, as older versions have it.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware.compiled_jax import fused, fused_of
from hardware.hlo import HloError, Module, Shape, parse
from hardware.hlo.walk import execute, measured_trips
from hardware.tpu.cycles import cycles_of


def text(name: str) -> str:
    return (Path(__file__).parent / "hlo" / f"{name}.txt").read_text()


@pytest.fixture(scope="module")
def tpu() -> Module:
    return parse(text("tpu_v5e"))


# -- the text --


def test_computations_and_instructions(tpu):
    assert (tpu.name, tpu.entry, len(tpu.computations)) == ("jit_call", "main.10", 13)
    fusion = tpu.computations["wide.region_0.4.sunk"].instructions["fusion.12"]
    assert (fusion.opcode, fusion.operands) == ("fusion", ("copy.22", "get-tuple-element.72"))
    assert fusion.called == {"calls": ("fused_computation.3.clone.1",)}
    assert fusion.op_name == "jit(f)/while/body/closed_call/inner_thing/dot_general"
    assert fusion.estimated_cycles == 2450
    assert fusion.shapes == (Shape("f32", (), (), ((128,),)), Shape("f32", (128, 256), (1, 0), ((8, 128),)))
    weights = tpu.computations["main.10"].instructions["convert.13"].shape
    assert weights == Shape("bf16", (256, 256), (1, 0), ((8, 128), (2, 1)), memory_space=1)
    assert tpu.computations["main.10"].root.name == "tuple.9"


def test_a_string_for_a_backend_config_and_comments_in_shapes():
    module = parse(text("gpu_gemm"))
    assert module.computations["main"].instructions["while.1"].known_trip_count == 12
    assert [s.dims for s in module.computations["condition"].parameters[0].shapes] == [(), (64, 64), (64, 64)]
    assert module.computations["fused_add"].root.operands == ("param_0", "constant.1")


def test_names_without_a_mark():
    module = parse(
        "HloModule m\nENTRY main {\n  a = f32[4]{0} parameter(0)\n  ROOT b = f32[4]{0} add(f32[4]{0} a, a)\n}"
    )
    assert module.computations["main"].root.operands == ("a", "a")


@pytest.mark.parametrize("bad", ["", "HloModule m\n", "module @jit_f { func.func public @main() }"])
def test_text_without_an_entry(bad):
    with pytest.raises(HloError, match="must hold an ENTRY computation"):
        parse(bad)


@pytest.mark.parametrize("line", ["a = f32[4]{0} parameter(0", "a = nothing", "a = f32[4]{0}"])
def test_a_line_that_is_none(line):
    with pytest.raises(HloError):
        parse(f"HloModule m\nENTRY %main {{\n  {line}\n}}")


@pytest.mark.parametrize(
    ("shape", "stored"),
    [
        (Shape("f32", (100, 200), (1, 0), ((8, 128),)), 104 * 256 * 4),
        (Shape("f32", (100, 200), (0, 1), ((8, 128),)), 128 * 200 * 4),  # the most minor dimension is the first
        (Shape("bf16", (3, 5, 7), (2, 1, 0), ((8, 128), (2, 1))), 3 * 8 * 128 * 2),
        (Shape("f32", (100,), (0,), ((128,),)), 128 * 4),
        (Shape("f32", (100,), (0,)), 400),
        (Shape("f32", (), (), ((128,),)), 4),
        (Shape("s4", (10,), (0,)), 5),
        (Shape("pred", (10,), (0,)), 10),
        (Shape("c64", (10,), (0,)), 80),
        (Shape("token"), 0),
    ],
)
def test_what_a_buffer_takes(shape, stored):
    assert shape.padded_bytes == stored


@given(st.lists(st.integers(1, 300), min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_tiles_only_add(dims, random):
    order = list(range(len(dims)))
    random.shuffle(order)
    shape = Shape("f32", tuple(dims), tuple(order), ((8, 128),))
    assert shape.padded_bytes >= shape.bytes
    assert shape.padded_bytes % (8 * 128 * 4) == 0


# -- trips --

LOOP = """HloModule m
%next (x: s32[]) -> s32[] {{
  %x = s32[] parameter(0)
  %step.1 = s32[] constant({step})
  ROOT %sum = s32[] {move}(%x, %step.1)
}}
%test (u: s32[], v: s32[]) -> pred[] {{
  %u = s32[] parameter(0)
  %v = s32[] parameter(1)
  ROOT %is = pred[] compare({sides}), direction={direction}
}}
%body (s: (f32[8], s32[], s32[])) -> (f32[8], s32[], s32[]) {{
  %s = (f32[8]{{0}}, s32[], s32[]) parameter(0)
  %x0 = f32[8]{{0}} get-tuple-element(%s), index=0
  %i = s32[] get-tuple-element(%s), index=1
  %n = s32[] get-tuple-element(%s), index=2
  %i.1 = s32[]{{:T(128)S(6)}} copy(%i)
  %j = s32[] fusion(%i.1), kind=kLoop, calls=%next
  %y = f32[8]{{0}} negate(%x0)
  ROOT %t = (f32[8]{{0}}, s32[], s32[]) tuple(%y, %j, %n)
}}
%condition (s.1: (f32[8], s32[], s32[])) -> pred[] {{
  %s.1 = (f32[8]{{0}}, s32[], s32[]) parameter(0)
  %i.3 = s32[] get-tuple-element(%s.1), index=1
  %shift = s32[] constant({shift})
  %i.2 = s32[] subtract(%i.3, %shift)
  %n.2 = s32[] {limit}
  ROOT %c = pred[] fusion(%i.2, %n.2), kind=kLoop, calls=%test
}}
ENTRY %main (p: f32[8]) -> f32[8] {{
  %p = f32[8]{{0}} parameter(0)
  %start = s32[] constant({start})
  %n.1 = s32[] constant({stop})
  %t.1 = (f32[8]{{0}}, s32[], s32[]) tuple(%p, %start, %n.1)
  %w = (f32[8]{{0}}, s32[], s32[]) while(%t.1), condition=%condition, body=%body
  ROOT %r = f32[8]{{0}} get-tuple-element(%w), index=0
}}
"""
HOLDS = {
    "LT": lambda a, b: a < b, "LE": lambda a, b: a <= b, "GT": lambda a, b: a > b, "GE": lambda a, b: a >= b,
    "NE": lambda a, b: a != b, "EQ": lambda a, b: a == b,
}  # fmt: skip


def times_of(module: Module, opcode: str, trips: dict[int, int] | None = None) -> int:
    return sum(s.times for s in execute(module, trips).steps if s.instruction.opcode == opcode)


@given(
    start=st.integers(-20, 20), stop=st.integers(-20, 20), step=st.integers(1, 7),
    shift=st.integers(-3, 3), direction=st.sampled_from(list(HOLDS)),
    down=st.booleans(), swapped=st.booleans(), carried=st.booleans(),
)  # fmt: skip
def test_trips_are_those_of_the_loop_that_is_written(start, stop, step, shift, direction, down, swapped, carried):
    """Whatever the comparison, start, step, side and offset, and whether the limit is a constant or carried along."""
    module = parse(
        LOOP.format(
            start=start, stop=stop, step=step, shift=shift, move="subtract" if down else "add", direction=direction,
            sides="%v, %u" if swapped else "%u, %v",
            limit="get-tuple-element(%s.1), index=2" if carried else f"constant({stop})",
        )
    )  # fmt: skip
    i, rounds = start, 0
    while rounds <= 100 and HOLDS[direction](*((stop, i - shift) if swapped else (i - shift, stop))):
        i, rounds = i + (-step if down else step), rounds + 1
    executed = execute(module)
    if rounds > 100:  # it never ends
        assert executed.unknown_loops == ("w",)
    else:
        assert not executed.unknown_loops
        assert times_of(module, "negate") == rounds
        assert times_of(module, "copy") == rounds


def nested(inner_limit: str) -> str:
    """Two loops of 3 and some rounds: the inner one's limit is `inner_limit`, of the outer one's state %s."""
    return f"""HloModule m
%b2 (s: (s32[], f32[8], s32[])) -> (s32[], f32[8], s32[]) {{
  %s = (s32[], f32[8], s32[]) parameter(0)
  %i = s32[] get-tuple-element(%s), index=0
  %x = f32[8] get-tuple-element(%s), index=1
  %n = s32[] get-tuple-element(%s), index=2
  %one = s32[] constant(1)
  %j = s32[] add(%i, %one)
  %y = f32[8] negate(%x)
  ROOT %t = (s32[], f32[8], s32[]) tuple(%j, %y, %n)
}}
%c2 (s: (s32[], f32[8], s32[])) -> pred[] {{
  %s = (s32[], f32[8], s32[]) parameter(0)
  %i = s32[] get-tuple-element(%s), index=0
  %n = s32[] get-tuple-element(%s), index=2
  ROOT %c = pred[] compare(%i, %n), direction=LT
}}
%b1 (s: (s32[], f32[8], s32[])) -> (s32[], f32[8], s32[]) {{
  %s = (s32[], f32[8], s32[]) parameter(0)
  %i = s32[] get-tuple-element(%s), index=0
  %x = f32[8] get-tuple-element(%s), index=1
  %n = s32[] get-tuple-element(%s), index=2
  %zero = s32[] constant(0)
  %one = s32[] constant(1)
  %limit = s32[] {inner_limit}
  %t2 = (s32[], f32[8], s32[]) tuple(%zero, %x, %limit)
  %w2 = (s32[], f32[8], s32[]) while(%t2), condition=%c2, body=%b2, metadata={{op_name="jit(f)/body/loop_5/while"}}
  %y = f32[8] get-tuple-element(%w2), index=1
  %j = s32[] add(%i, %one)
  ROOT %t = (s32[], f32[8], s32[]) tuple(%j, %y, %n)
}}
%c1 (s: (s32[], f32[8], s32[])) -> pred[] {{
  %s = (s32[], f32[8], s32[]) parameter(0)
  %i = s32[] get-tuple-element(%s), index=0
  %three = s32[] constant(3)
  ROOT %c = pred[] compare(%i, %three), direction=LT
}}
ENTRY %main (p: f32[8]) -> f32[8] {{
  %p = f32[8] parameter(0)
  %zero = s32[] constant(0)
  %four = s32[] constant(4)
  %t = (s32[], f32[8], s32[]) tuple(%zero, %p, %four)
  %w1 = (s32[], f32[8], s32[]) while(%t), condition=%c1, body=%b1
  ROOT %r = f32[8] get-tuple-element(%w1), index=1
}}
"""


def test_nested_loops_multiply():
    """The inner limit, 4, comes from outside of both loops."""
    assert times_of(parse(nested("copy(%n)")), "negate") == 3 * 4


def test_a_limit_that_the_outer_loop_changes_needs_a_measurement():
    """Trips of a labelled loop are those of all its runs together (0 + 1 + 2), so the outer trips do not multiply."""
    module = parse(nested("copy(%i)"))
    assert execute(module).unknown_loops == ("jit(f)/body/loop_5/while",)
    assert times_of(module, "negate") == 3 * 1  # once each time it is met
    measured = execute(module, {5: 3})
    assert not measured.unknown_loops
    assert times_of(module, "negate", {5: 3}) == 3
    assert times_of(module, "compare", {5: 3}) == (3 + 1) + (3 + 3)  # a test more than rounds, for each run
    assert times_of(module, "negate", {5: 0}) == 0


def test_the_same_measured_loop_in_two_copies_shares_its_trips():
    body = nested("copy(%i)")
    again = (
        '  %w3 = (s32[], f32[8], s32[]) while(%w2), condition=%c2, body=%b2, metadata={op_name="jit(f)/loop_5/while"}\n'
    )
    module = parse(
        body.replace("  %y = f32[8] get-tuple-element(%w2)", again + "  %y = f32[8] get-tuple-element(%w3)", 1)
    )
    assert times_of(module, "negate", {5: 10}) == 10


def test_the_heaviest_branch_is_taken_and_named():
    module = parse("""HloModule m
%light (x: f32[8]) -> f32[8] {
  %x = f32[8] parameter(0)
  ROOT %y = f32[8] negate(%x)
}
%heavy (x: f32[8]) -> f32[8] {
  %x = f32[8] parameter(0)
  %z = f32[8] exponential(%x)
  ROOT %y = f32[8] cosine(%z)
}
ENTRY %main (p: s32[], q: f32[8]) -> f32[8] {
  %p = s32[] parameter(0)
  %q = f32[8] parameter(1)
  ROOT %c = f32[8] conditional(%p, %q, %q), branch_computations={%light, %heavy}
}
""")
    executed = execute(module)
    assert executed.conditionals == ("c",)
    assert [s.instruction.opcode for s in executed.steps][-2:] == ["exponential", "cosine"]
    favour = execute(module, weight=lambda _, i: 9.0 if i.opcode == "negate" else 1.0)
    assert favour.steps[-1].instruction.opcode == "negate"


VECTOR, PART = 100 * 4, 8 * 4
SINGLE = {  # one instruction on x (100,), u (8,), n (8,) and i: bytes in main memory, bytes on the chip, kernels
    "f32[100]{0} negate(%x)": (2 * VECTOR, 0, 1),
    "f32[100]{0} multiply(%x, %x)": (2 * VECTOR, 0, 1),  # what it takes twice it reads once
    "f32[8]{0} slice(%x), slice={[0:8]}": (2 * PART, 0, 1),
    "f32[8]{0} dynamic-slice(%x, %i), dynamic_slice_sizes={8}": (2 * PART + 4, 0, 1),
    "f32[8]{0} gather(%x, %n), slice_sizes={1}": (3 * PART, 0, 1),
    "f32[100]{0} dynamic-update-slice(%x, %u, %i)": (2 * PART + 4, 0, 1),
    "f32[100]{0} scatter(%x, %n, %u), to_apply=%sum": (3 * PART, 0, 1),
    "(f32[100]{0:S(1)}, f32[100]{0}, u32[]) copy-start(%x)": (VECTOR, VECTOR, 1),
    "((f32[100]{0}), f32[8]{0:S(1)}, s32[]) slice-start(%x), slice={[0:8]}": (PART, PART, 1),
    "((f32[100]{0}), f32[100]{0}, u32[]) async-start(%x), calls=%later": (2 * VECTOR, 0, 1),
    'f32[100]{0:S(1)} custom-call(), custom_call_target="AllocateBuffer"': (0, 0, 0),
    'f32[100]{0} custom-call(%x), custom_call_target="Qr"': (2 * VECTOR, 0, 1),
    "f32[10,10]{1,0} bitcast(%x)": (0, 0, 0),
}


@pytest.mark.parametrize("line", SINGLE)
def test_what_one_instruction_moves(line):
    """Of an array that is sliced or changed in place only the part moves, once in and once out, and its indices."""
    found = fused(f"""HloModule m
%sum (a: f32[], b: f32[]) -> f32[] {{
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %c = f32[] add(%a, %b)
}}
%later (a: f32[100]) -> f32[100] {{
  %a = f32[100]{{0}} parameter(0)
  ROOT %b = f32[100]{{0}} negate(%a)
}}
ENTRY %main (x: f32[100], u: f32[8], n: s32[8], i: s32[]) -> f32[100] {{
  %x = f32[100]{{0}} parameter(0)
  %u = f32[8]{{0}} parameter(1)
  %n = s32[8]{{0}} parameter(2)
  %i = s32[] parameter(3)
  ROOT %r = {line}
}}
""")
    assert (found.fused_bytes, found.on_chip_bytes, found.kernels) == SINGLE[line]


def test_trips_of_lanes_are_refused():
    assert measured_trips(None) == {}
    assert measured_trips(SimpleNamespace(times=(1, 7))) == {0: 1, 1: 7}
    with pytest.raises(ValueError, match=r"count\(vmap\(f\)\)"):
        measured_trips(SimpleNamespace(times=(SimpleNamespace(ndim=1),)))


# -- what the three compilers wrote --


def test_cpu_scan_by_hand():
    """50 rounds of carry (256) and xs (50, 256) → sums (50,): no round reads more than its row or writes more than one.

    A round, in 4-byte numbers: copies of the carry and of i, 2·256 + 2; the first sums 256 + 1 → 8; i + 1 from two
    scalars, 3; row, i and carry → product, 3·256 + 1; the last sums 8 + 1 → 1; and the test, a pred from two, 2 and a
    byte. Outside: copies of carry and i, 2·256 + 2; the zeros of the sums, 1 → 50; the test once more.
    """
    a_round = (2 * 256 + 2) + (256 + 1 + 8) + 3 + (3 * 256 + 1) + (8 + 1 + 1)
    outside = (2 * 256 + 2) + (1 + 50)
    found = fused(text("cpu_scan"))
    assert found.fused_bytes == 4 * (50 * a_round + outside) + 51 * (4 * 2 + 1)
    assert found.kernels == 50 * 6 + 51 + 3
    assert found.copied_bytes == 51 * 4 * (2 * 256 + 2)
    assert (found.unknown_loops, found.on_chip_bytes) == ((), 0)


def test_gpu_library_calls_and_command_buffers():
    """12 rounds of gemm (3 matrices; its workspace is memory that may be used, not traffic), tanh (2) and i + 1."""
    found = fused(text("gpu_gemm"))
    matrix = 64 * 64 * 4
    assert found.fused_bytes == 12 * (5 * matrix + 2 * 4) + 13 * (2 * 4 + 1) + (2 * matrix + 2 * 4)
    assert found.kernels == 12 * 3 + 13 + 2


@pytest.mark.parametrize("trips", [0, 1, 7])
def test_tpu_cycles_by_hand(tpu, trips):
    """A scan of 100 whose trips stand in its condition, and a labelled loop whose trips a tally tells."""
    executed = execute(tpu, {3: trips})
    cycles = cycles_of(executed, mxu=128)
    assert cycles.total == 2365 + 2930 + 100 * 2450 + trips * 3346 + (trips + 1) * 2357
    assert cycles.by_kind["matmul"] == 100 * 2450 + trips * 3346
    assert cycles.by_kind["reduction"] == (trips + 1) * 2357
    assert cycles.products == {1: 100 + trips}
    assert cycles.mxu_fill == 1.0  # 256 is twice 128
    assert cycles_of(executed, mxu=512).mxu_fill == 0.25
    assert not executed.unknown_loops
    assert "dynamic-update-slice" in cycles.unestimated


def test_tpu_loops_without_a_tally_are_named(tpu):
    found = fused_of(execute(tpu))
    assert found.unknown_loops == ("jit(f)/loop_3/while",)
    assert found.is_lower_bound


def test_tpu_bytes_tell_main_memory_from_the_chip(tpu):
    """A round of the labelled loop copies the carry to the chip, multiplies there, writes it back; the test sums it."""
    one, two = (fused_of(execute(tpu, {3: trips})) for trips in (1, 2))
    carry, weights = 128 * 256 * 4, 256 * 256 * 2
    scalars = (4 + 4) + (4 + 4 + 1)  # start and result of the sum; the comparison's operands and its pred
    assert two.fused_bytes - one.fused_bytes == 3 * carry + scalars
    assert two.on_chip_bytes - one.on_chip_bytes == 2 * carry + weights
