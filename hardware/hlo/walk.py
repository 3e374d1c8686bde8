"""What a compiled program executes: each top-level instruction of its optimised HLO with the times that it runs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hardware.hlo import Computation, Instruction, Module
from hardware.hlo.trips import Frame, loop_frame, static_trips

LABEL = re.compile(r"loop_(\d+)\)*/while$")  # the counter of hardware.flops_jax names the loops whose trips it measures
Weight = Callable[[Computation, Instruction], float]
ENTERED = ("call", "async-start")  # their one computation runs in their place


@dataclass(frozen=True)
class Step:
    """An instruction, the computation it stands in, and how often it runs."""

    computation: Computation
    instruction: Instruction
    times: int


@dataclass(frozen=True)
class Executed:
    """`steps`: what runs, a fusion being one instruction; loops, calls and branches are entered instead.

    `unknown_loops`: loops whose trips nobody knows; each is counted as one trip, so totals are a lower bound.
    `conditionals`: branches whose outcome the text cannot tell; the heaviest is counted.
    """

    module: Module
    steps: tuple[Step, ...]
    unknown_loops: tuple[str, ...] = ()
    conditionals: tuple[str, ...] = ()


def measured_trips(tally: object) -> dict[int, int]:
    """{i: trips of the loop labelled loop_i}, all its rounds together, from a `hardware.flops_jax.Tally`.

    A `Cost` and None have none. Raises ValueError for a tally of several lanes, whose loops ran together.
    """
    times = list(getattr(tally, "times", ()))
    if any(getattr(t, "ndim", 0) for t in times):
        raise ValueError(
            "trips must be those of one program, but this tally has lanes; count outside vmap: count(vmap(f))"
        )
    return {i: int(t) for i, t in enumerate(times)}


def execute(
    module: Module,
    trips: Mapping[int, int] | None = None,
    weight: Weight = lambda computation, instruction: 1.0,
) -> Executed:
    """Every top-level instruction that runs, loops multiplied out.

    A loop's trips are static (`hardware.hlo.trips`), else `trips[i]` for a loop labelled loop_i (the rounds of all its
    runs together, shared evenly where the compiler made copies of it), else unknown. `weight` says which branch of a
    conditional is the heaviest.
    """
    walk = _Walk(module, trips or {}, weight)
    walk.enter(Frame(module, module.computations[module.entry]), 1)
    return Executed(module, tuple(walk.steps), tuple(walk.unknown), tuple(walk.conditionals))


class _Walk:
    def __init__(self, module: Module, trips: Mapping[int, int], weight: Weight) -> None:
        self.module, self.trips, self.weight = module, trips, weight
        self.steps: list[Step] = []
        self.unknown: list[str] = []
        self.conditionals: list[str] = []
        self._weights: dict[str, float] = {}
        instructions = (i for c in module.computations.values() for i in c.instructions.values())
        self._copies = Counter(_label(i) for i in instructions if i.opcode == "while")

    def enter(self, frame: Frame, times: int) -> None:
        for instruction in frame.computation.instructions.values():
            if instruction.opcode == "while":
                rounds = self._rounds(frame, instruction, times)
                self.enter(loop_frame(frame, instruction, "condition"), times + rounds)
                self.enter(loop_frame(frame, instruction), rounds)
            elif instruction.opcode == "conditional":
                self.conditionals.append(instruction.op_name or instruction.name)
                self.enter(Frame(self.module, self._heaviest(instruction)), times)
            elif instruction.opcode in ENTERED:
                self.enter(frame.inner(instruction), times)
            else:
                self.steps.append(Step(frame.computation, instruction, times))

    def _rounds(self, frame: Frame, loop: Instruction, times: int) -> int:
        each = static_trips(frame, loop)
        if each is not None:
            return each * times
        label = _label(loop)
        if label in self.trips:
            return round(self.trips[label] / self._copies[label])
        self.unknown.append(loop.op_name or loop.name)
        return times

    def _heaviest(self, conditional: Instruction) -> Computation:
        called = conditional.called
        names = called.get("branch_computations") or called["true_computation"] + called["false_computation"]
        return self.module.computations[max(names, key=self._weigh)]

    def _weigh(self, name: str) -> float:
        if name not in self._weights:
            total = 0.0
            computation = self.module.computations[name]
            for i in computation.instructions.values():
                called = [name for names in i.called.values() for name in names]
                inside = i.opcode in ("while", "conditional", *ENTERED)
                total += sum(map(self._weigh, called)) if inside else self.weight(computation, i)
            self._weights[name] = total
        return self._weights[name]


def _label(loop: Instruction) -> int:
    found = LABEL.search(loop.op_name)
    return int(found[1]) if found else -1
