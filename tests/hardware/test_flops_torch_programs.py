"""The torch counter over whole programs: what runs is counted once, whatever runs it."""

from __future__ import annotations

import math
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, vjp, vmap
from torch.utils.checkpoint import checkpoint

from hardware.flops_torch import FlopCounter, UncountableError

N = 8
X = torch.linspace(-1, 1, N * N).reshape(N, N)
ONCE = 2 * N**3 + 2 * N**2


def program(x):
    """ONCE operations: a product, a tanh, a sum of two."""
    return torch.tanh(x @ x) + 1


def cost(run):
    with FlopCounter() as counter:
        run()
    assert not counter.cost.uncounted
    return counter.cost


def both_ways(f=program, x=X):
    return f(x.clone().requires_grad_()).sum().backward()


# ---- torch.compile, TorchScript ----


def cold(f):
    return torch.compile(f, backend="eager")


def warm(f):
    compiled = torch.compile(f, backend="eager")
    compiled(X)
    return compiled


def whole(f):
    return torch.compile(f, backend="aot_eager", fullgraph=True)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("compiled", [cold, warm, whole, lambda f: torch.jit.trace(f, X)])
def test_compiled_functions_cost_what_they_cost_uncompiled(compiled):
    f = compiled(program)
    assert cost(lambda: f(X)) == cost(lambda: program(X))
    assert cost(lambda: both_ways(f)).flop == cost(both_ways).flop


def test_counting_leaves_a_compiled_function_compiled():
    """torch marks what it meets under a dispatch mode as never to be compiled; the counter must not do that."""
    graphs = []

    def backend(module, inputs):
        graphs.append(module)
        return module

    f = torch.compile(program, backend=backend, fullgraph=True)
    assert cost(lambda: f(X)).flop == ONCE
    assert not graphs
    f(X)
    assert len(graphs) == 1


def test_a_replayed_graph_is_refused():
    with pytest.raises(UncountableError, match="CUDA graph"), FlopCounter():
        torch.cuda.CUDAGraph.replay(None)  # pyright: ignore[reportArgumentType]


# ---- control flow that takes functions ----


def test_the_branch_taken_is_counted():
    def f(x):
        return torch.cond(x.sum() > 0, lambda x: x @ x, torch.sin, (x,))

    assert cost(lambda: f(X + 1)).flop == N**2 + (N**2 - 1) + 2 * N**3
    assert cost(lambda: f(X - 1)).flop == N**2 + (N**2 - 1) + N**2


@pytest.mark.filterwarnings("ignore")
def test_other_control_flow_is_named():
    from torch.nn.attention.flex_attention import flex_attention

    q = X.reshape(1, 1, N, N)
    with FlopCounter() as counter:
        flex_attention(q, q, q)
    assert counter.cost.uncounted == {"flex_attention"}


# ---- threads and nesting ----


def test_threads_that_start_inside_are_counted():
    def run():
        threads = [threading.Thread(target=program, args=(X,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(program, [X] * 5))

    assert cost(run).flop == 8 * ONCE


def test_a_thread_that_outlives_the_block_is_counted_only_inside():
    with ThreadPoolExecutor(1) as pool:
        with FlopCounter() as counter:
            pool.submit(program, X).result()
        inside = counter.cost
        pool.submit(program, X).result()
    assert counter.cost == inside
    assert inside.flop == ONCE


def test_nested_counters_see_the_same_threads():
    with FlopCounter() as outer, FlopCounter() as inner:
        thread = threading.Thread(target=program, args=(X,))
        thread.start()
        thread.join()
    assert inner.cost.flop == outer.cost.flop == ONCE


def test_one_counter_may_count_twice_but_not_inside_itself():
    counter = FlopCounter()
    for _ in range(2):
        with counter:
            program(X)
    assert counter.cost.flop == 2 * ONCE
    with counter, pytest.raises(UncountableError, match="second one"), counter:
        pass
    with counter:  # and is none the worse for it
        program(X)
    assert counter.cost.flop == 3 * ONCE


def test_an_exception_ends_the_block():
    counter = FlopCounter()
    with pytest.raises(ZeroDivisionError), counter:
        program(X)
        raise ZeroDivisionError
    program(X)
    assert counter.cost.flop == ONCE
    assert threading.getprofile() is None


# ---- torch.func, checkpoints, functions with their own gradient ----

TRANSFORMED = {
    "vmap": (lambda: vmap(torch.sin)(X), N**2),
    "grad: sine, its derivative, the product": (lambda: grad(lambda v: v.sin().sum())(X[0]), N + N - 1 + 2 * N),
    # Forward 1; cosine and product for each of the N rows of the identity.
    "jacrev": (lambda: jacrev(torch.sin)(X[0]), N + N + N**2),
    "vmap of jacrev": (lambda: vmap(jacrev(torch.sin))(X), N**2 + N**2 + N**3),
    "jacfwd": (lambda: jacfwd(torch.sin)(X[0]), N + N + N**2),
    "jvp: sine, cosine, product": (lambda: jvp(torch.sin, (X,), (X,)), 3 * N**2),
    "vjp": (lambda: vjp(torch.sin, X)[1](X), 3 * N**2),
    "functional_call": (
        lambda: functional_call(torch.nn.Linear(N, N), {"weight": X, "bias": X[0]}, (X,)),
        2 * N**3 + N**2,
    ),
}


@pytest.mark.filterwarnings("ignore:.*torch.jit")  # by torch itself, when it first differentiates forwards
@pytest.mark.parametrize("name", TRANSFORMED)
def test_transformations(name):
    run, flop = TRANSFORMED[name]
    assert cost(run).flop == flop


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_hessian_of_a_square_is_counted():
    """Forward over reverse: at least the N derivatives of each of the N gradients."""
    assert cost(lambda: hessian(lambda v: (v**3).sum())(X[0])).flop >= N**2


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_checkpoint_costs_its_second_forward_pass(reentrant):
    """The last sum is not needed again: a checkpoint that does not re-enter stops before it."""
    once = cost(both_ways).flop
    twice = cost(lambda: both_ways(lambda x: checkpoint(program, x, use_reentrant=reentrant))).flop
    assert once + ONCE - N**2 <= twice <= once + ONCE


class Square(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, g):  # pyright: ignore[reportIncompatibleMethodOverride]
        (x,) = ctx.saved_tensors
        return 2 * x * g


def test_a_function_with_its_own_gradient():
    assert cost(lambda: both_ways(Square.apply)).flop == N**2 + (N**2 - 1) + 2 * N**2


# ---- optimisers ----


@pytest.mark.parametrize("variant", [{"foreach": False}, {"foreach": True}])
@pytest.mark.parametrize(
    ("name", "each", "options"),
    [
        ("SGD", 2, {}),
        ("SGD", 2 + 2, {"momentum": 0.9}),  # from the second step on
        ("Adam", 13, {}),
        ("AdamW", 14, {}),
    ],
)
def test_optimisers(name, each, options, variant):
    p = torch.ones(1000, requires_grad=True)
    p.grad = torch.ones(1000)
    optimiser = getattr(torch.optim, name)([p], lr=0.1, **options, **variant)
    optimiser.step()
    assert cost(optimiser.step).flop == pytest.approx(each * 1000, abs=1)  # 1: the number of the step is a tensor


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW"])
def test_fused_optimisers_cost_the_same(name):
    def step(**variant):
        p = torch.ones(1000, requires_grad=True)
        p.grad = torch.ones(1000)
        optimiser = getattr(torch.optim, name)([p], lr=0.1, weight_decay=0.1, **variant)
        return cost(optimiser.step).flop

    assert step(fused=True) == pytest.approx(step(fused=False), abs=1)


def test_lbfgs_costs_its_evaluations():
    p = X[0].clone().requires_grad_()
    optimiser = torch.optim.LBFGS([p], max_iter=3)
    calls = 0

    def closure():
        nonlocal calls
        calls += 1
        optimiser.zero_grad()
        loss = (X @ p).square().sum()
        loss.backward()
        return loss

    counted = cost(lambda: optimiser.step(closure))
    assert counted.flop > calls * 2 * 2 * N**2


# ---- fused kernels cost what they stand for ----


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("activation", ["gelu", "relu"])
def test_the_fast_path_of_the_encoder(activation, norm_first):
    layer = torch.nn.TransformerEncoderLayer(
        8, 2, 16, activation=activation, norm_first=norm_first, batch_first=True
    ).eval()
    x = torch.ones(3, 5, 8)
    with torch.no_grad():
        fast = cost(lambda: layer(x))
    slow = cost(lambda: layer(x.requires_grad_()))
    assert fast.operations == 1 < slow.operations
    assert fast.flop == pytest.approx(slow.flop, rel=0.01)


@pytest.mark.parametrize("causal", [True, False])
def test_attention_is_counted_over_the_pairs_that_it_computes(causal):
    q = torch.ones(2, 3, 16, 4)
    pairs = 16 * 17 // 2 if causal else 16 * 16
    counted = cost(lambda: F.scaled_dot_product_attention(q, q, q, is_causal=causal))
    assert counted.by_kind["matmul", "float32"] == 2 * 3 * pairs * 2 * (4 + 4)


def products_inside(run):
    """Multiply-adds of square products that torch's profiler saw, inside kernels that the dispatcher does not show."""
    with torch.profiler.profile(record_shapes=True) as profile:
        run()
    products = ("aten::bmm", "aten::mm", "aten::baddbmm")
    shapes = [e.input_shapes[-2:] for e in profile.events() or [] if e.name in products]
    return sum(math.prod(left) * right[-1] for left, right in shapes)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("norm", [1e-9, 1e-4, 0.03, 0.2, 0.9, 2.0, 20.0, 300.0])
def test_matrix_exponential_costs_its_products(norm, dtype):
    """As many as the profiler sees inside the kernel, by the norm of the matrix."""
    matrix = torch.diag_embed(torch.tensor([norm, norm / 2, norm / 4], dtype=dtype)).unsqueeze(0)
    torch.linalg.matrix_exp(matrix)
    seen = products_inside(lambda: torch.linalg.matrix_exp(matrix))
    assert cost(lambda: torch.linalg.matrix_exp(matrix)).flop == 2 * seen


# ---- prices are remembered, but not mistaken ----


def test_prices_follow_all_that_rules_look_at():
    v, i = torch.ones(5), torch.ones(5, dtype=torch.int64)
    with FlopCounter() as counter:
        _ = i * 2, i * 2.0, v**2, v**3, v**2.0, v**2.5
        _ = torch.add(v, v), torch.add(v, v, alpha=1.0), torch.add(v, v, alpha=0.5), torch.add(v, v, alpha=0.25)
        _ = v.expand(4, 5).sum(), torch.ones(4, 5).sum()
    assert counter.cost.flop == 5 * (0 + 1 + 1 + 2 + 1 + 1) + 5 * (1 + 1 + 2 + 2) + 2 * 19
    with FlopCounter() as again:
        _ = v**3
    assert again.cost.flop == 10


def test_many_different_calls_stay_exact():
    """More of them than are remembered at a time."""
    sizes = range(1, 5001)
    v = torch.ones(5000)
    with FlopCounter() as counter:
        for n in sizes:
            _ = v[:n] + 1
    assert counter.cost.flop == sum(sizes)
    assert counter.cost.operations == 5000
