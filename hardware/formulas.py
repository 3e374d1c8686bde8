"""FLOP formulas that both counters share, so that twins agree by construction. All take and return Python numbers.

Conventions: a multiply-add is 2 FLOP; products are 2mnk (not 2mnk - mn); linear algebra is the leading term of the
textbook count, rounded to an integer; complex arithmetic is counted in real operations.
Source of the linear-algebra terms: Golub & Van Loan, Matrix Computations, 4th ed. (5.2.2, 5.2.9, 6.5.4, 7.4.3, 7.5.6,
8.3, 8.6.3);
of 5 n log2 n: Cooley-Tukey radix 2, the figure FFTW reports.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from hardware.cost import Cost

# Real operations in one complex operation, (flop, transcendental), z = a + ib; division is (ac+bd, bc-ad)/(c²+d²).
COMPLEX = {
    "add": (2, 0),
    "sub": (2, 0),
    "neg": (2, 0),
    "mul": (6, 0),
    "square": (6, 0),
    "div": (11, 2),
    "reciprocal": (6, 2),  # (a, -b)/(a²+b²)
    "abs": (4, 1),
    "sign": (6, 3),  # z/|z|
    "exp": (5, 3),  # exp a (cos b, sin b)
    "exp2": (7, 3),  # exp(z log 2)
    "expm1": (6, 3),
    "log": (6, 2),  # ½ log(a²+b²), atan2(b, a)
    "log1p": (7, 2),
    "sqrt": (10, 3),  # t = √((|z|+|a|)/2), b/(2t)
    "rsqrt": (16, 5),
    "pow": (17, 5),  # exp(w log z)
    "logistic": (14, 5),  # 1/(1 + exp(-z))
    "sin": (6, 4),  # sin a cosh b, cos a sinh b
    "cos": (7, 4),
    "tan": (9, 6),  # (sin 2a, sinh 2b)/(cos 2a + cosh 2b)
    "sinh": (6, 4),
    "cosh": (6, 4),
    "tanh": (9, 6),
    "asin": (28, 5),  # -i log(iz + √(1 - z²)): square 6, 2, root 10, iz 1, sum 2, log 6, -i 1
    "acos": (30, 5),  # π/2 - asin z
    "atan": (19, 4),  # i/2 (log(1 - iz) - log(1 + iz)): 2 and 1, logs 12, difference 2, i/2 2
    "asinh": (25, 5),  # log(z + √(z² + 1)): square 6, 1, root 10, sum 2, log 6
    "acosh": (36, 8),  # log(z + √(z+1) √(z-1)): 1 and 1, roots 20, product 6, sum 2, log 6
    "atanh": (19, 4),  # ½ (log(1 + z) - log(1 - z)): 1 and 2, logs 12, difference 2, half 2
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
    Position o·stride + k·dilation - low is real where it is a multiple of `holes` within the dilated input.
    """
    if kernel > out:  # outputs and taps play the same part: the loop is over the fewer
        out, kernel, stride, dilation = kernel, out, dilation, stride
    extent = (size - 1) * holes + 1 if size else 0
    shared = math.gcd(stride, holes)
    period = holes // shared
    inverse = pow(stride // shared, -1, period)
    taps = 0
    for k in range(kernel):
        start = k * dilation - low
        if start % shared:
            continue  # never a multiple of `holes`
        first = max(0, -(start // stride))
        last = min(out - 1, (extent - 1 - start) // stride)
        residue = -start // shared * inverse % period  # the o that make it one are this, modulo `period`
        taps += max(0, (last - residue) // period - (first - 1 - residue) // period)
    return taps


def convolution(batch: int, in_channels: int, out_channels: int, groups: int, taps: Sequence[int]) -> int:
    return product(batch, in_channels // groups, out_channels, *taps)


def cholesky(n: int) -> int:
    return round(n**3 / 3)


def lu(m: int, n: int) -> int:
    k = min(m, n)
    return round(2 * m * n * k - (m + n) * k**2 + 2 * k**3 / 3)


def cholesky_update(n: int) -> tuple[int, int]:
    """(flop, transcendental) of the factor of R Rᵀ + v vᵀ by n rotations.

    Each takes 6 to find (two squares, a sum, a root, two divisions) and 6 on each of the n(n-1)/2 pairs it turns.
    """
    return 3 * n * (n - 1) + 6 * n, 3 * n


def hessenberg(n: int) -> int:
    return round(10 * n**3 / 3)


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


def apply_reflectors(m: int, n: int, reflectors: int) -> int:
    """Householder reflectors, the i-th from row i down, on an m × n matrix: 4 n (m - i) each."""
    return 4 * m * n * reflectors - 2 * n * reflectors**2
