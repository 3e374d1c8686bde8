"""One program of the battery: its mathematics in JAX and torch, and the count that a person derived for it.

Counts are formulas in the sizes of the program, written in Python's notation: names, whole numbers, + - * / ** and
log2 of a power of two. They are read by `evaluate`, in exact fractions, and never by a counter.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

Build = Callable[[], tuple[Callable[..., Any], tuple[Any, ...]]]  # makes (function, arguments)

OPERATORS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}


@dataclass(frozen=True)
class Program:
    """`formula`: all FLOP; `of_which`: the transcendental ones; `least_bytes`: arguments and results, each once.

    `torch_formula` and `torch_of_which` stand where torch executes other arithmetic for the same mathematics; `note`
    then says which. `twins` is False where that difference is above 1%, which the note must give a reason for.
    `lanes`: the JAX function is vmapped over so many lanes, and what each of them needed is added up.
    `evaluations`: by framework, a function of the result of the counted run that returns how often the vector field
    was evaluated, E (and F: how often by the forward pass), counted by the field itself, for use in the formulas.
    `tolerance`: the counted FLOP may exceed the formula by this share; the note derives it.
    `kinds`: FLOP of one (kind, dtype), for programs that exist to tell kinds apart.
    """

    name: str
    formula: str
    of_which: str = "0"
    sizes: Mapping[str, int] = field(default_factory=dict)
    jax: Build | None = None
    torch: Build | None = None
    torch_formula: str | None = None
    torch_of_which: str | None = None
    note: str = ""
    twins: bool = True
    tolerance: float = 0.0
    lanes: int | None = None
    least_bytes: str | None = None
    kinds: Mapping[tuple[str, str], str] = field(default_factory=dict)
    evaluations: Mapping[str, Callable[[Any], dict[str, int]]] = field(default_factory=dict)
    group: str = ""

    def formula_for(self, framework: str) -> str:
        return (self.torch_formula or self.formula) if framework == "torch" else self.formula

    def expected(self, framework: str, evaluations: Mapping[str, int] | None = None) -> tuple[int, int]:
        """(flop, transcendental) that a person derived for "jax" or "torch"."""
        sizes = dict(self.sizes) | dict(evaluations or {})
        of_which = (self.torch_of_which or self.of_which) if framework == "torch" else self.of_which
        return evaluate(self.formula_for(framework), sizes), evaluate(of_which, sizes)


def evaluate(formula: str, sizes: Mapping[str, int]) -> int:
    """The formula's value, rounded to a whole number. Raises ValueError for anything but arithmetic of known names."""

    def value(node: ast.expr) -> Fraction:
        match node:
            case ast.Constant(value=int(number)):
                return Fraction(number)
            case ast.Name(id=name) if name in sizes:
                return Fraction(sizes[name])
            case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
                return OPERATORS[type(op)](value(left), value(right))
            case ast.Call(func=ast.Name(id="log2"), args=[argument]):
                number = int(value(argument))
                if number & (number - 1):
                    raise ValueError(f"log2({number}) is not a whole number")
                return Fraction(number.bit_length() - 1)
        raise ValueError(f"{ast.unparse(node)} in {formula!r} is not arithmetic of {', '.join(sizes) or 'numbers'}")

    return round(value(ast.parse(formula, mode="eval").body))


def both(function: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
    """`function(xp, *arrays)`, with xp jax.numpy or torch; an argument is a shape (of ones) or (shape, dtype name)."""

    def in_jax() -> tuple[Callable[..., Any], tuple[Any, ...]]:
        import jax.numpy as jnp

        return (lambda *a: function(jnp, *a)), tuple(jnp.ones(s, d) for s, d in map(_typed, arguments))

    def in_torch() -> tuple[Callable[..., Any], tuple[Any, ...]]:
        import torch

        return (lambda *a: function(torch, *a)), tuple(
            torch.ones(s, dtype=getattr(torch, d)) for s, d in map(_typed, arguments)
        )

    return {"jax": in_jax, "torch": in_torch}


def _typed(argument: Any) -> tuple[tuple[int, ...], str]:
    if len(argument) == 2 and isinstance(argument[1], str):
        return argument
    return argument, "float32"
