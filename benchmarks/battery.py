"""The battery of programs with hand-derived counts: what our counters say of each, and what others say.

`python -m benchmarks battery` measures; `python -m benchmarks.battery` writes the tables of the committed result into
docs/accounting.md. fvcore is no dependency: its column is filled where it is installed.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULT, PAGE = ROOT / "benchmarks" / "results" / "battery.json", ROOT / "docs" / "accounting.md"
BEGIN, END = "<!-- begin: written by python -m benchmarks.battery -->", "<!-- end -->"
FVCORE = "version of fvcore"
OTHERS = {
    "xla": ("XLA `cost_analysis`", "jax"),
    "flop_counter_mode": ("torch `FlopCounterMode`", "torch"),
    "fvcore": ("fvcore (multiply-adds)", "torch"),
}


def measure() -> dict[str, Any]:
    from tests.hardware.battery import PROGRAMS

    installed = importlib.util.find_spec("fvcore") is not None
    of_fvcore = _in_another_process([p.name for p in PROGRAMS]) if installed else {}
    rows = {program.name: _row(program) | {"fvcore": of_fvcore.get(program.name)} for program in PROGRAMS}
    return {FVCORE: version("fvcore") if installed else "not installed: its column is empty"} | rows


def _in_another_process(names: list[str]) -> dict[str, Any]:
    """What fvcore says; its tracing may end the process, which then begins again after that program."""
    cells: dict[str, Any] = {}
    while len(cells) < len(names):
        command = [sys.executable, "-m", "benchmarks.battery", "fvcore", str(len(cells))]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT)
        cells |= dict(zip(names[len(cells) :], map(json.loads, done.stdout.splitlines()), strict=False))
        if done.returncode < 0:
            cells[names[len(cells)]] = signal.Signals(-done.returncode).name
        elif done.returncode:
            raise RuntimeError(f"fvcore's process ended with {done.returncode} at {names[len(cells)]}; run it alone")
    return cells


def _row(program: Any) -> dict[str, Any]:
    from tests.hardware.battery.counting import COUNTERS

    expected: dict[str, Any] = {}
    counted: dict[str, Any] = {}
    uncounted: dict[str, Any] = {}
    evaluated: dict[str, Any] = {}
    for framework, counter in COUNTERS.items():
        if measured := counter(program):
            evaluations, cost = measured
            expected[framework] = list(program.expected(framework, evaluations))
            counted[framework] = [cost.flop, cost.transcendental]
            uncounted[framework] = sorted(cost.uncounted)
            evaluated |= {framework: evaluations} if evaluations else {}
    return {
        "group": program.group,
        "formula": program.formula,
        "torch_formula": program.torch_formula,
        "sizes": dict(program.sizes),
        "note": program.note,
        "tolerance": program.tolerance,
        "expected": expected,
        "evaluations": evaluated,
        "counted": counted,
        "uncounted": uncounted,
        "xla": said(lambda: xla(program)) if program.jax else None,
        "flop_counter_mode": said(lambda: flop_counter_mode(program)) if program.torch else None,
    }


def said(counter: Callable[[], Any]) -> Any:
    """What the counter returns, or the name of the error that it raises."""
    try:
        value = counter()
    except Exception as error:  # a counter of somebody else's may raise anything
        return type(error).__name__
    return int(value) if isinstance(value, float) else value


def xla(program: Any) -> list[int]:
    """[flops, transcendentals] of the compiled program; XLA counts the two apart."""
    import jax

    f, arguments = program.jax()
    analysis = jax.jit(jax.vmap(f) if program.lanes else f).lower(*arguments).compile().cost_analysis() or {}
    return [int(analysis.get("flops", 0)), int(analysis.get("transcendentals", 0))]


def flop_counter_mode(program: Any) -> int:
    from torch.utils.flop_counter import FlopCounterMode

    f, arguments = program.torch()
    with FlopCounterMode(display=False) as counter:
        f(*arguments)
    return counter.get_total_flops()


def fvcore(program: Any) -> float:
    import torch
    from fvcore.nn import FlopCountAnalysis  # type: ignore[import-not-found]

    f, arguments = program.torch()

    class Wrapped(torch.nn.Module):
        def forward(self, *args: Any) -> Any:
            return f(*args)

    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return float(FlopCountAnalysis(f if isinstance(f, torch.nn.Module) else Wrapped(), arguments).total())
    finally:
        logging.disable(logging.NOTSET)


# ---- the page ----


def committed() -> dict[str, Any]:
    return json.loads(RESULT.read_text("utf-8"))


def programs(result: dict[str, Any]) -> dict[str, Any]:
    """The rows of a result file's contents."""
    return {name: row for name, row in result["figures"].items() if name != FVCORE}


def rendered(result: dict[str, Any]) -> str:
    """The tables of the page, from a result file's contents."""
    rows, versions = programs(result), result["versions"]
    right = sum(row["counted"][f] == e for row in rows.values() for f, e in row["expected"].items())
    bounded = sum(len(row["expected"]) for row in rows.values() if row["tolerance"])
    counts = sum(len(row["expected"]) for row in rows.values())
    lines = [
        f"{result['date']}: {len(rows)} programs on {result['host']['cpu']}, jax {versions['jax']}, "
        f"torch {versions['torch']}, fvcore {result['figures'][FVCORE]}. Of {counts} counts {right} are exactly as "
        f"derived, {bounded} bound a solver's own work, and {counts - right - bounded} are wrong, in bold.",
        "",
        *_summary(rows),
        "",
        "Where they lie, in numbers of the tables below:",
        "",
        *_lies(rows),
    ]
    group = None
    for name, row in rows.items():
        if row["group"] != group:
            group = row["group"]
            others = " | ".join(title for title, _ in OTHERS.values())
            lines += ["", f"### {group.capitalize()}", ""]
            lines += [f"| program | formula | expected | counted, JAX | counted, torch | {others} |", "|---" * 8 + "|"]
        counted = [_counted(row, framework) for framework in ("jax", "torch")]
        cells = [name, _formula(row), _expected(row), *counted, *(_cell(row[other]) for other in OTHERS)]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def _summary(rows: dict[str, Any]) -> list[str]:
    """How far the other counters are from the derived counts, each in its own unit."""
    lines = ["| counter | programs | within 1% | too low | too high | no answer |", "|---" * 6 + "|"]
    for key, (title, framework) in OTHERS.items():
        ratios, silent = [], 0
        for row in (row for row in rows.values() if framework in row["expected"]):
            expected, value = row["expected"][framework][0], row[key]
            if not isinstance(value, int | list):
                silent += 1
                continue
            value = sum(value) if isinstance(value, list) else value * (2 if key == "fvcore" else 1)
            ratios.append(value / expected if expected else 1.0 + value)
        near = sum(abs(r - 1) <= 0.01 for r in ratios)
        low, high = sum(r < 0.99 for r in ratios), sum(r > 1.01 for r in ratios)
        lines.append(f"| {title} | {len(ratios) + silent} | {near} | {low} | {high} | {silent} |")
    return lines


# What is wrong, in the words of a counter, and programs that show it.
LIES = [
    ("xla", "a loop is its body once", ["scan of 2 matrix products", "scan of 10 matrix products",
                                        "scan of 100 matrix products", "while, vmapped over 1, 2, 100 trips: executed",
                                        "diffrax Tsit5, adaptive"]),
    ("xla", "a conditional is its dearest branch", ["cond, the other branch: x + x"]),
    ("xla", "a call of a library is next to nothing", ["SVD, thin", "LU", "triangular solve"]),
    ("xla", "complex products are real ones", ["complex matrix product"]),
    ("xla", "cumulative sums are windows that start anew", ["cumulative sum"]),
    ("flop_counter_mode", "nothing counts but products of matrices and convolutions",
     ["matrix times vector", "complex FFT", "Adam, textbook", "forces of a flock", "solve, several right-hand sides"]),
    ("flop_counter_mode", "complex products are real ones", ["complex matrix product"]),
    ("flop_counter_mode", "padding is arithmetic", ["2-D, stride 2, padded"]),
    ("flop_counter_mode", "a processor's attention kernel is nothing", ["attention, fused kernel"]),
    ("flop_counter_mode", "the adjoint method crashes it", ["torchdiffeq rk4, ten steps, adjoint"]),
    ("fvcore", "half of the FLOP, and no more than products", ["matrix product", "complex FFT", "Adam, textbook"]),
    ("fvcore", "its tracing crashes, even the process", ["matrix times vector", "gradients through a checkpoint"]),
]  # fmt: skip


def _lies(rows: dict[str, Any]) -> list[str]:
    lines = []
    for key, what, names in LIES:
        title, framework = OTHERS[key]
        shown = (f"{name}: {_cell(rows[name][key])} for {_cell(rows[name]['expected'][framework])}" for name in names)
        lines.append(f"- {title}: {what} ({'; '.join(shown)}).")
    return lines


def _formula(row: dict[str, Any]) -> str:
    sizes = ", ".join(f"{name}={value}" for name, value in row["sizes"].items())
    text = f"`{row['formula']}`" + (f"<br>{sizes}" if sizes else "")
    for framework, evaluations in row["evaluations"].items():
        text += f"<br>{framework}: " + ", ".join(f"{name}={number}" for name, number in sorted(evaluations.items()))
    text += f"<br>torch: `{row['torch_formula']}`" if row["torch_formula"] else ""
    return text + (f"<br>*{row['note']}*" if row["note"] else "")


def _expected(row: dict[str, Any]) -> str:
    cells = {framework: _cell(value) for framework, value in row["expected"].items()}
    if len(set(cells.values())) == 1:
        return next(iter(cells.values()))
    return "<br>".join(f"{framework}: {cell}" for framework, cell in cells.items())


def _counted(row: dict[str, Any], framework: str) -> str:
    """Bold where it is not what was derived; after ≥ where an operation had no rule."""
    cell = "≥ " * bool(row["uncounted"].get(framework)) + _cell(row["counted"].get(framework))
    wrong = row["counted"].get(framework) != row["expected"].get(framework) and not row["tolerance"]
    return f"**{cell}**" if wrong else cell


def _cell(value: Any) -> str:
    """`FLOP (transcendental)`, a number, an error's name, or a dash."""
    if value is None:
        return "–"
    if isinstance(value, list):
        return f"{value[0]:,}" + (f" ({value[1]:,})" if value[1] else "")
    return f"{value:,}" if isinstance(value, int) else value


def write_page() -> None:
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n{rendered(committed())}\n{END}{after}", "utf-8")


def main(words: list[str]) -> None:
    if not words:
        return write_page()
    from tests.hardware.battery import PROGRAMS

    for program in PROGRAMS[int(words[1]) :]:
        print(json.dumps(said(lambda: fvcore(program)) if program.torch else None), flush=True)  # noqa: B023


if __name__ == "__main__":
    main(sys.argv[1:])
