"""Steps a second of large flocks: our cell list, a KD-tree (SciPy, NumPy), a cell list in Numba, and all pairs.

All compute the same step (midpoint rule, two fields) of `LocalFlocking` in the plane in open space, at its own density,
from the state the flock has reached after some time. Their accelerations are compared before anything is timed. Each
is the form its tool is best at: SciPy finds all pairs once and NumPy adds them up with `bincount`; Numba sorts agents
by cell, and each of 2 threads walks the neighbouring stretches of its rows, in fast-math loops that become vector
instructions. Repetitions take turns, so that a drift of the machine hits all alike; ratios are of those in the same
turn. Processor seconds are given too, which other programs on the machine do not add to.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np

from physics_models.agents import cruise
from physics_models.large_flock import simulate_flock
from physics_models.local_flocking import LocalFlocking

SIZES = (1_000, 10_000, 100_000, 1_000_000)
TURNS = {1_000: 15, 10_000: 11, 100_000: 7, 1_000_000: 3}
# Above these a turn takes minutes, or all pairs more memory than there is.
LARGEST = {"KD-tree, float64": 100_000, "all pairs, float64": 3_000}
DT, THREADS = 0.02, 2
# Different orders of addition, and fast-math: some hundred roundings of an acceleration of size 10.
SAME = {"float32": 1e-4, "float64": 1e-12}

Step = Callable[[np.ndarray], np.ndarray]
Acceleration = Callable[[np.ndarray, np.ndarray], np.ndarray]


def measure() -> dict[str, Any]:
    figures: dict[str, Any] = {}
    try:
        numba_step = _numba_acceleration()
    except ImportError:
        numba_step = None
        figures["Numba"] = "not installed: pip install '.[bench]'"
    wall: dict[str, dict[int, float]] = {}
    for n in SIZES:
        system = LocalFlocking(n)
        y = system.initial_state(np.random.default_rng(0))
        y = simulate_flock(system, y, DT, 50, save_every=50)[-1].astype(np.float64)  # agents have moved apart
        steps = _contestants(system, numba_step)
        steps = {name: step for name, step in steps.items() if n <= LARGEST.get(name, n)}
        _check_same(system, y, steps)
        seconds, cpu = _in_turn(steps, y, TURNS[n])
        for name in steps:
            wall.setdefault(name, {})[n] = median(seconds[name])
            figures[f"N = {n}, {name}: steps/s"] = 1 / median(seconds[name])
            figures[f"N = {n}, {name}: processor ms a step"] = 1e3 * min(cpu[name])
        for precision in SAME:
            ours = f"ours, {precision}"
            for other in steps:
                if other != ours and not other.startswith("ours") and (precision in other or "Numba" not in other):
                    figures[f"N = {n}, {ours} / {other}: seconds"] = _ratios(seconds[ours], seconds[other])
                    figures[f"N = {n}, {ours} / {other}: processor seconds"] = min(cpu[ours]) / min(cpu[other])
    for name, by_n in wall.items():
        large = {n: s for n, s in by_n.items() if n >= 10_000}
        if len(large) > 1:
            slope = np.polyfit(np.log(list(large)), np.log(list(large.values())), 1)[0]
            figures[f"{name}: exponent of seconds in N, from N = 10000"] = float(slope)
    return figures


def _contestants(system: LocalFlocking, numba_acceleration: Acceleration | None) -> dict[str, Step]:
    def ours(precision: str) -> Step:
        return lambda y: simulate_flock(system, y, DT, 1, precision=precision)[-1]

    steps = {f"ours, {precision}": ours(precision) for precision in SAME}
    if numba_acceleration is not None:
        for precision in SAME:
            steps[f"Numba, {precision}"] = _midpoint(system, numba_acceleration, precision)
    steps["KD-tree, float64"] = _midpoint(system, _kd_tree_acceleration(system), "float64")
    steps["all pairs, float64"] = _midpoint(system, lambda x, v: system.field(0.0, np.hstack([x, v]))[:, 2:], "float64")
    return steps


def _midpoint(system: LocalFlocking, acceleration: Acceleration, precision: str) -> Step:
    """The midpoint rule around a function that gives the acceleration, all terms of it."""
    half, dt = np.dtype(precision).type(DT / 2), np.dtype(precision).type(DT)

    def step(y: np.ndarray) -> np.ndarray:
        y = y.astype(precision)
        x, v = np.ascontiguousarray(y[:, :2]), np.ascontiguousarray(y[:, 2:])
        v_half = v + half * acceleration(x, v)
        return np.hstack([x + dt * v_half, v + dt * acceleration(x + half * v, v_half)])

    return step


def _check_same(system: LocalFlocking, y: np.ndarray, steps: dict[str, Step]) -> None:
    """Velocities change by DT times the acceleration: that is what is compared. Also compiles everything."""
    wanted = steps["ours, float64"](y)
    if len(y) <= LARGEST["all pairs, float64"]:
        wanted = steps["all pairs, float64"](y)
    for name, step in steps.items():
        off = np.abs(step(y) - wanted)[:, 2:].max() / DT
        precision = "float32" if "float32" in name else "float64"
        # Positions are rounded too: over one rounding of the farthest, forces change by some ten times as much.
        tolerance = SAME[precision] + 10 * np.finfo(precision).eps * np.abs(y[:, :2]).max()
        if not off <= tolerance * max(1.0, np.abs(wanted - y)[:, 2:].max() / DT):
            raise RuntimeError(f"{name} differs from the sum over all pairs by {off:.2g} at N = {len(y)}")


def _in_turn(
    steps: dict[str, Step], y: np.ndarray, turns: int
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    wall: dict[str, list[float]] = {name: [] for name in steps}
    cpu: dict[str, list[float]] = {name: [] for name in steps}
    names = list(steps)
    for turn in range(turns):
        for name in names if turn % 2 else reversed(names):
            before = time.perf_counter(), time.process_time()
            steps[name](y)
            wall[name].append(time.perf_counter() - before[0])
            cpu[name].append(time.process_time() - before[1])
    return wall, cpu


def _ratios(first: list[float], second: list[float]) -> str:
    ratios = [a / b for a, b in zip(first, second, strict=True)]
    return f"{median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"


def _coefficients(system: LocalFlocking) -> list[float]:
    """Cohesion, separation, alignment at distance 0, and 1 / range^2 of each."""
    rules = ("cohesion", "separation", "alignment")
    zero = np.zeros(())
    at_zero = [float(system.kernel(rule, zero, system.values)) for rule in rules]
    return at_zero + [system.values[f"{rule}_range"] ** -2 for rule in rules]


def _kd_tree_acceleration(system: LocalFlocking) -> Acceleration:
    from scipy.spatial import KDTree

    c, s, a, cc, ss, aa = _coefficients(system)

    def acceleration(x: np.ndarray, v: np.ndarray) -> np.ndarray:
        n = len(x)
        i, j = KDTree(x).query_pairs(system.cutoff, output_type="ndarray").T  # each pair once
        r, dv = x[j] - x[i], v[j] - v[i]
        r2 = np.einsum("kd,kd->k", r, r)
        along = c * np.maximum(0, 1 - r2 * cc) ** 3 - s * np.maximum(0, 1 - r2 * ss) ** 3
        force = along[:, None] * r + (a * np.maximum(0, 1 - r2 * aa) ** 3)[:, None] * dv
        sums = [np.bincount(i, f, n) - np.bincount(j, f, n) for f in force.T]
        return np.stack(sums, axis=-1) + cruise(v, system.values)

    return acceleration


def _numba_acceleration() -> Acceleration:
    """For the default parameters: they are constants of the compiled loops, as they are of ours."""
    import numba  # pyright: ignore[reportMissingImports] (an extra)

    numba.set_num_threads(min(THREADS, numba.get_num_threads()))
    system = LocalFlocking()
    coefficients, values, cutoff = _coefficients(system), system.values, system.cutoff
    regulation, per_cruise2 = values["regulation"], values["cruise_speed"] ** -2

    @numba.njit
    def by_cell(x: Any, v: Any) -> Any:
        """A counting sort; cells are as wide as the cutoff and cover the bounding rectangle."""
        n, x0, y0 = len(x), x[:, 0].min(), x[:, 1].min()
        columns = int((x[:, 0].max() - x0) / cutoff) + 1
        rows = int((x[:, 1].max() - y0) / cutoff) + 1
        cell, start = np.empty(n, np.int32), np.zeros(rows * columns + 1, np.int32)
        for i in range(n):
            cell[i] = int((x[i, 1] - y0) / cutoff) * columns + int((x[i, 0] - x0) / cutoff)
            start[cell[i] + 1] += 1
        start = np.cumsum(start).astype(np.int32)
        filled, order, columns_of = start.copy(), np.empty(n, np.int32), np.empty((4, n), x.dtype)
        for i in range(n):
            k = filled[cell[i]]
            filled[cell[i]] += 1
            order[k] = i
            columns_of[0, k], columns_of[1, k], columns_of[2, k], columns_of[3, k] = x[i, 0], x[i, 1], v[i, 0], v[i, 1]
        return columns_of, order, start, rows, columns

    @numba.njit(parallel=True, fastmath=True, error_model="numpy")
    def walk(sorted_columns: Any, order: Any, start: Any, rows: int, columns: int, constants: Any) -> Any:
        xs, ys, us, vs = sorted_columns
        c, s, a, cc, ss, aa, rate, per_speed2, zero, one = constants
        out = np.empty((len(xs), 2), xs.dtype)
        for row in numba.prange(rows):
            for column in range(columns):
                left, right = max(column - 1, 0), min(column + 2, columns)
                for i in range(start[row * columns + column], start[row * columns + column + 1]):
                    x, y, u, v = xs[i], ys[i], us[i], vs[i]
                    fx, fy = zero, zero
                    for near in range(max(row - 1, 0), min(row + 2, rows)):
                        for j in range(start[near * columns + left], start[near * columns + right]):
                            dx, dy = xs[j] - x, ys[j] - y
                            r2 = dx * dx + dy * dy
                            p, q, w = max(zero, one - r2 * cc), max(zero, one - r2 * ss), max(zero, one - r2 * aa)
                            along, align = c * p * p * p - s * q * q * q, a * w * w * w
                            fx += along * dx + align * (us[j] - u)
                            fy += along * dy + align * (vs[j] - v)
                    growth = rate * (one - (u * u + v * v) * per_speed2)
                    out[order[i], 0], out[order[i], 1] = fx + growth * u, fy + growth * v
        return out

    def acceleration(x: np.ndarray, v: np.ndarray) -> np.ndarray:
        constants = np.array([*coefficients, regulation, per_cruise2, 0.0, 1.0], x.dtype)
        columns_of, order, start, rows, columns = by_cell(x, v)
        return walk(columns_of, order, start, rows, columns, tuple(constants))

    return acceleration
