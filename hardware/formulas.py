"""FLOP formulas that both counters share, so that twins agree by construction. All take and return Python numbers.

Conventions: a multiply-add is 2 FLOP; products are 2mnk (not 2mnk - mn); linear algebra is the leading term of the
textbook count, rounded to an integer; complex arithmetic is counted in real operations.
Source of the linear-algebra terms: Golub & Van Loan, Matrix Computations, 4th ed. (5.2.2, 5.2.9, 8.3, 8.6.3, 7.5.6);
of 5 n log2 n: Cooley-Tukey radix 2, the figure FFTW reports.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from hardware.cost import Cost

# Real operations in one complex operation, (flop, transcendental); division is (ac+bd, bc-ad)/(c²+d²).
COMPLEX = {
    "add": (2, 0),
    "sub": (2, 0),
    "neg": (2, 0),
    "mul": (6, 0),
    "square": (6, 0),
    "div": (11, 2),
    "abs": (4, 1),
    "exp": (5, 3),
}
COMPLEX_PRODUCT = 4  # 8 real operations in a complex multiply-add, against 2


def product(*sizes: int) -> int:
    """One multiply-add for each combination of indices: m, n, k (and batch) of a matrix product."""
    return 2 * math.prod(sizes)


def integer_power(exponent: int) -> Cost:
    """Multiplications of square-and-multiply; a negative power is one division more."""
    size = abs(exponent)
    multiplications = 0 if size < 2 else size.bit_length() - 1 + size.bit_count() - 1
    inverse = 1 if exponent < 0 else 0
    return Cost(multiplications + inverse, inverse)


def valid_taps(size: int, out: int, kernel: int, stride: int, low: int, dilation: int = 1, holes: int = 1) -> int:
    """Pairs (output position, kernel position) of one spatial axis that meet a real input value.

    `low`: padding before the first value; `dilation`: of the kernel; `holes`: dilation of the input (1 = none).
    Padding and holes are zeros that need no arithmetic, so a convolution and both its gradients cost the same.
    """
    extent = (size - 1) * holes + 1 if size else 0
    taps = 0
    for k in range(kernel):
        start = k * dilation - low
        if holes == 1:  # closed form: 0 <= start + o·stride < extent, 0 <= o < out
            first = max(0, -(start // stride))
            last = min(out - 1, (extent - 1 - start) // stride)
            taps += max(0, last - first + 1)
        else:
            positions = (start + o * stride for o in range(out))
            taps += sum(1 for p in positions if 0 <= p < extent and p % holes == 0)
    return taps


def convolution(batch: int, in_channels: int, out_channels: int, groups: int, taps: Sequence[int]) -> int:
    return product(batch, in_channels // groups, out_channels, *taps)


def cholesky(n: int) -> int:
    return round(n**3 / 3)


def lu(m: int, n: int) -> int:
    k = min(m, n)
    return round(2 * m * n * k - (m + n) * k**2 + 2 * k**3 / 3)


def triangular_solve(n: int, right_hand_sides: int) -> int:
    return n * n * right_hand_sides


def householder_qr(m: int, n: int) -> int:
    """R and the reflectors; 2mn² - 2n³/3 where m >= n."""
    return householder_product(m, n, min(m, n))


def householder_product(m: int, n: int, reflectors: int) -> int:
    """The m × n columns of Q from its reflectors."""
    k = reflectors
    return round(4 * m * n * k - 2 * (m + n) * k**2 + 4 * k**3 / 3)


def eigh(n: int, vectors: bool = True) -> int:
    return 9 * n**3 if vectors else round(4 * n**3 / 3)


def eig(n: int, vectors: bool = True) -> int:
    return 25 * n**3 if vectors else 10 * n**3


def svd(m: int, n: int, vectors: bool = True, full: bool = False) -> int:
    m, n = max(m, n), min(m, n)
    if not vectors:
        return round(4 * m * n**2 - 4 * n**3 / 3)
    return 4 * m**2 * n + 8 * m * n**2 + 9 * n**3 if full else 14 * m * n**2 + 8 * n**3


def fft(lengths: Sequence[int], batch: int, real: bool) -> int:
    """Each axis in turn, 5 n log2 n a line; half of that for a transform with one real side."""
    points = batch * math.prod(lengths)
    return round(5 * points * sum(math.log2(n) for n in lengths if n > 1) / (2 if real else 1))
