"""Sums over pairs of agents within a cutoff, by a cell list: time and memory O(N), for JAX programs.

Agents are sorted by cell, so that the cells c - 1 to c + 1 of a row of cells are one stretch of memory. `BLOCK`
neighbours in that order share the stretches that any of them needs, and meet them `CHUNK` at a time as plain
arithmetic on dense arrays: gathers, the dear part on a processor, are per block and not per pair. Blocks with equally
long stretches go through together, so a crowded place makes no other place wait. Nothing has a capacity that could
overflow: what a crowd costs is time. The blocks are those of S. Páll and B. Hess, "A flexible algorithm for calculating
pair interactions on SIMD architectures", Computer Physics Communications 184 (2013), doi:10.1016/j.cpc.2013.06.003.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

Array = Any
# (r, r2, fi, fj) -> what is summed; r: d arrays, components of x_j - x_i; r2: |r|^2; fi, fj: features, an array each.
Pair = Callable[[tuple[Array, ...], Array, tuple[Array, ...], tuple[Array, ...]], tuple[Array, ...]]

BLOCK, CHUNK, GROUP = 8, 16, 256  # agents, candidates and blocks at a time: the fastest of those tried on a processor
AGENTS_PER_CELL = 2  # the table has a cell for that many agents; distant cells share an entry where space is larger
# Cells are that much wider than the cutoff, for the rounding of x / cutoff: 2^16 cells from the origin it is 2^-8 in
# float32 (24 bits), in float64 (53 bits) 2^-23 at 2^30 cells, where 32-bit integers end.
MARGIN = 1.01
FARTHEST_CELL = {"float32": 2.0**16, "float64": 2.0**30}


class Sums(NamedTuple):
    """`values`: (N, number of sums). `trusted`: whether all positions were finite and near enough to the origin for
    their cells to be known; if False, the values mean nothing."""

    values: Array
    trusted: Array


class _Windows(NamedTuple):
    """The agents in the order of their cells, in blocks of one row of cells each, and the candidates of each block."""

    order: Array  # (N,) the agent at each place of the sorted order
    slot: Array  # (N,) its place among the blocks' BLOCK * n_blocks slots
    member: Array  # (n_blocks, BLOCK) the reverse: the place in the sorted order; 0 in empty slots
    begin: Array  # (S, n_blocks) where each of S stretches begins, counted from the first agent of its row
    row_begin: Array  # (S, n_blocks) the place of the first agent of that row
    row_size: Array  # (S, n_blocks) agents in that row: a stretch that passes its end goes on at its beginning
    length: Array  # (S, n_blocks) agents in the stretch


def neighbour_sum(pair: Pair, x: Array, features: Array, cutoff: float, box: float | None = None) -> Sums:
    """sum_j pair(x_j - x_i, |x_j - x_i|^2, features_i, features_j) for every agent i, j = i included.

    `x`: (N, d) positions, d = 1, 2 or 3. `features`: (N, F) other things a pair needs, such as velocities; F may be 0.
    `pair`: elementwise arithmetic, which must give 0 wherever |x_j - x_i| >= cutoff. `cutoff`: above 0, in units of x.
    `box`: side of a periodic box, in which the nearest image counts; at least twice the cutoff; positions need not lie
    inside. None: open space.

    Equal to the sum over all pairs but for the order of additions, in the precision of x. To be traced by `jax.jit`;
    faster under `jax.enable_x64`, which sorts whole words, whatever the precision of x. It has no
    reverse-mode derivative, because the number of candidates depends on the data.

    Raises ValueError for arguments of the wrong shape, precision or size.
    """
    import jax
    import jax.numpy as jnp

    n, d = _checked(x, features, cutoff, box)
    cells = _cells_along(n, d, cutoff, box)
    place, trusted = _cells(x, cutoff * MARGIN if box is None else box / cells, None if box is None else cells)
    one = (jax.ShapeDtypeStruct((), x.dtype),) * (d + features.shape[1])
    n_sums = len(jax.eval_shape(pair, one[:d], jax.ShapeDtypeStruct((), x.dtype), one[d:], one[d:]))
    if n_sums == 0 or n == 0:
        return Sums(jnp.zeros((n, n_sums), x.dtype), trusted)
    window = _windows(place, cells)
    columns = tuple(table[:, a][window.order] for table in (x, features) for a in range(table.shape[1]))

    def step(mine: Any, its: Any, ok: Any, sums: Any) -> Any:
        r = tuple(b[:, None] - a for a, b in zip(mine[:d], its[:d], strict=True))
        if box is not None:
            r = tuple(a - box * jnp.round(a / box) for a in r)
        r2 = sum(a * a for a in r)
        r2 = jnp.where(ok[:, None], r2, jnp.asarray(2 * cutoff**2, x.dtype))  # where pair is 0, by its contract
        return tuple(
            s + p for s, p in zip(sums, pair(r, r2, mine[d:], tuple(b[:, None] for b in its[d:])), strict=True)
        )

    return Sums(_sum_blocks(step, window, columns, n_sums), trusted)


def _cells_along(n: int, space_dim: int, cutoff: float, box: float | None) -> int:
    """Cells along each axis of the table for n agents."""
    most = max(1, math.ceil((n / AGENTS_PER_CELL) ** (1 / space_dim)))
    return most if box is None else max(1, min(most, math.floor(box / (cutoff * MARGIN))))


def _checked(x: Array, features: Array, cutoff: float, box: float | None) -> tuple[int, int]:
    if x.ndim != 2 or not 1 <= x.shape[1] <= 3:
        raise ValueError(f"x must have the shape (N, d) with d = 1, 2 or 3, but it is {x.shape}")
    if features.ndim != 2 or features.shape[0] != x.shape[0]:
        raise ValueError(f"features must have the shape ({x.shape[0]}, F), as x has, but it is {features.shape}")
    if x.dtype != features.dtype or str(x.dtype) not in FARTHEST_CELL:
        raise ValueError(f"x and features must both be float32 or float64, but they are {x.dtype} and {features.dtype}")
    if not (cutoff > 0 and math.isfinite(cutoff)):
        raise ValueError(f"cutoff must be above 0 and finite, but it is {cutoff}")
    if box is not None and not (2 * cutoff <= box < math.inf):
        raise ValueError(f"box must be at least twice the cutoff {cutoff:g}, but it is {box}: take None for open space")
    return x.shape[0], x.shape[1]


def _cells(x: Array, side: float, period: int | None) -> tuple[Array, Array]:
    """Integer cell coordinates (N, d) and whether they can be trusted."""
    import jax.numpy as jnp

    q = x / jnp.asarray(side, x.dtype)
    trusted = jnp.all(jnp.abs(q) < FARTHEST_CELL[str(x.dtype)])  # False for not-a-number too
    if period is not None:
        q = q - period * jnp.floor(q / period)
    return jnp.floor(jnp.where(jnp.isfinite(q), q, 0)).astype(jnp.int32), trusted


def _windows(place: Array, cells: int) -> _Windows:
    """Sort, cut into blocks, and find the stretches of candidates of each block.

    Cell coordinates are taken modulo the table's size: in open space far cells then share entries, which costs
    candidates but misses no pair, since neighbouring cells stay neighbours.
    """
    import jax.numpy as jnp

    n, d = place.shape
    n_rows = cells ** (d - 1)
    n_blocks = -(-n // BLOCK) + n_rows  # a row's last block may be part empty
    index = jnp.arange(n, dtype=jnp.int32)
    row = sum(((place[:, a] % cells) * cells ** (a - 1) for a in range(1, d)), start=jnp.zeros(n, jnp.int32))
    key, order = _sorted(row * cells + place[:, 0] % cells)
    row = key // cells
    count = jnp.zeros(n_rows * cells, jnp.int32).at[key].add(1)
    start = jnp.concatenate([jnp.zeros(1, jnp.int32), jnp.cumsum(count, dtype=jnp.int32)])
    row_start = start[::cells]
    blocks_to = jnp.cumsum(-(-(row_start[1:] - row_start[:-1]) // BLOCK), dtype=jnp.int32)
    block_start = jnp.concatenate([jnp.zeros(1, jnp.int32), blocks_to])
    slot = index - row_start[row] + block_start[row] * BLOCK
    member = jnp.zeros(n_blocks * BLOCK, jnp.int32).at[slot].set(index, unique_indices=True)

    block = jnp.arange(n_blocks, dtype=jnp.int32)
    my_row = jnp.zeros(n_blocks, jnp.int32).at[blocks_to].add(1, mode="drop")
    my_row = jnp.minimum(jnp.cumsum(my_row, dtype=jnp.int32), n_rows - 1)
    first = (block - block_start[my_row]) * BLOCK + row_start[my_row]
    last = jnp.minimum(first + BLOCK, row_start[my_row + 1]) - 1
    real = (first <= last) & (block < block_start[-1])
    first, last = jnp.clip(first, 0, n - 1), jnp.clip(last, 0, n - 1)
    left = key[first] % cells - 1
    width = jnp.minimum(key[last] % cells - left + 2, cells)
    left = left % cells
    beyond = jnp.maximum(left + width - cells, 0)  # cells of the stretch that lie past the end of the row
    begin, row_begin, row_size, length = [], [], [], []
    for shift in itertools.product(*[_shifts(cells)] * (d - 1)):
        at = sum(
            ((my_row // cells**a + by) % cells * cells**a for a, by in enumerate(shift)), start=jnp.zeros_like(my_row)
        )
        head, here = start[at * cells], start[at * cells + left]
        within = start[at * cells + jnp.minimum(left + width, cells)] - here
        begin.append(here - head)
        row_begin.append(head)
        row_size.append(row_start[at + 1] - head)
        length.append(jnp.where(real, within + start[at * cells + beyond] - head, 0))
    stretches = (jnp.stack(part) for part in (begin, row_begin, row_size, length))
    return _Windows(order, slot, member.reshape(n_blocks, BLOCK), *stretches)


def _shifts(cells: int) -> tuple[int, ...]:
    """Which cells to look at along an axis of that many, each once."""
    return (-1, 0, 1) if cells > 2 else tuple(range(cells))


def _sorted(key: Array) -> tuple[Array, Array]:
    """Keys (N,) in order, and the permutation that orders them."""
    import jax
    import jax.numpy as jnp

    index = jnp.arange(len(key), dtype=jnp.int32)
    if jax.dtypes.canonicalize_dtype("int64") != "int64":
        key, order = jax.lax.sort((key, index), num_keys=1)
        return key, order
    # XLA sorts single words five times faster than pairs on a processor.
    word = jnp.sort((key.astype(jnp.int64) << 32) | index)
    return (word >> 32).astype(jnp.int32), word.astype(jnp.int32)


def _sum_blocks(step: Callable[..., Any], window: _Windows, columns: tuple[Array, ...], n_sums: int) -> Array:
    """Every block against its candidates, (N, n_sums) in the agents' own order."""
    import jax
    import jax.numpy as jnp

    (n_blocks, _), n, dtype = window.member.shape, len(window.order), columns[0].dtype
    group = min(GROUP, 1 << (n_blocks - 1).bit_length())
    n_groups = -(-n_blocks // group)
    upto = jnp.cumsum(window.length, axis=0, dtype=jnp.int32)
    _, by_length = _sorted(-(-upto[-1] // CHUNK))
    chosen = jnp.concatenate([by_length, jnp.zeros(n_groups * group - n_blocks, jnp.int32)])
    real = jnp.arange(n_groups * group) < n_blocks

    def grouped(table: Array) -> Array:
        """(k, n_blocks) -> (n_groups, k, group)."""
        return table[:, chosen].reshape(len(table), n_groups, group).swapaxes(0, 1)

    upto = jnp.where(jnp.tile(real, (len(upto), 1)), upto[:, chosen], 0)
    upto = upto.reshape(len(upto), n_groups, group).swapaxes(0, 1)
    shift = window.begin - jnp.cumsum(window.length, axis=0, dtype=jnp.int32) + window.length
    tables = (grouped(window.member.T), upto, *map(grouped, (shift, window.row_size, window.row_begin)))

    def one_group(_: None, group_tables: Any) -> Any:
        member, upto, shift, size, head = group_tables
        mine = jax.lax.optimization_barrier(tuple(column[member] for column in columns))

        def candidates(k: Array) -> tuple[Array, Array]:
            """Places in the sorted order of the k-th CHUNK of candidates, (CHUNK, group), and which exist."""
            t = k * CHUNK + jnp.arange(CHUNK, dtype=jnp.int32)[:, None]
            at, end, base = shift[0], size[0], head[0]
            for s in range(1, len(shift)):
                here = t >= upto[s - 1]
                at, end, base = (jnp.where(here, a[s], b) for a, b in ((shift, at), (size, end), (head, base)))
            at = t + at
            ok = t < upto[-1]
            return jnp.where(ok, jnp.where(at >= end, at - end, at) + base, 0), ok

        def body(k: Array, carry: Any) -> Any:
            # The places of the next chunk are made a round ahead: XLA would make them anew in every gather otherwise.
            (at, ok), sums = carry
            its = jax.lax.optimization_barrier(tuple(column[at] for column in columns))
            return candidates(k + 1), step(mine, its, ok, sums)

        # A sum for each of the CHUNK candidates side by side: additions into fewer do not become vector instructions.
        zero = tuple(jnp.zeros((CHUNK, BLOCK, group), dtype) for _ in range(n_sums))
        chunks = -(-jnp.max(upto[-1]) // CHUNK)
        _, sums = jax.lax.fori_loop(jnp.int32(0), chunks, body, (candidates(jnp.int32(0)), zero))
        return None, jnp.stack([jnp.sum(s, axis=0) for s in sums])

    _, sums = jax.lax.scan(one_group, None, tables)  # (n_groups, n_sums, BLOCK, group)
    by_block = sums.transpose(0, 3, 2, 1).reshape(n_groups * group, BLOCK, n_sums)
    place = jnp.zeros(n_blocks, jnp.int32).at[by_length].set(jnp.arange(n_blocks, dtype=jnp.int32), unique_indices=True)
    in_order = by_block[place[window.slot // BLOCK], window.slot % BLOCK]
    return jnp.zeros((n, n_sums), dtype).at[window.order].set(in_order, unique_indices=True)
