"""Which primitives of the current JAX have no price: an explicit list, each with the reason, complete and not stale."""

from __future__ import annotations

import json
import subprocess
import sys

import jax
import pytest

from hardware.flops_jax.rules import KIND, RULES
from hardware.flops_jax.traffic import PUTS, TAKES, VIEWS
from hardware.flops_jax.walk import CALLS, KERNELS

WALKED = {"scan", "while", "cond", "shard_map", *CALLS.split(), *KERNELS.split()}

# Reason: names of primitives that `count` names as uncounted (or finds inside a kernel, whose count is then a bound).
UNCOVERED = {
    "foreign code: what it does is not in the program": """
        buffer_callback call_exported elementwise_inline_asm_p ffi_call inline_mgpu_p io_callback mosaic_gpu_p
        pure_callback tpu_custom_call
    """,
    "cuDNN's fused kernels: what they skip depends on masks and on the version": """
        cudnn_fusion dot_product_attention_bwd dot_product_attention_bwd_wrapper dot_product_attention_fp8_bwd
        dot_product_attention_fp8_bwd_wrapper dot_product_attention_fp8_fwd dot_product_attention_fp8_fwd_wrapper
        dot_product_attention_fwd dot_product_attention_fwd_wrapper rnn_bwd rnn_fwd scaled_dot
        scaled_matmul_wrapper
    """,
    "a sparse solver, whose work depends on the pattern of non-zeros": "spsolve",
    "sparse formats that JAX has replaced by BCOO and BCSR": """
        coo_fromdense coo_spmm coo_spmv coo_todense csr_fromdense csr_spmm csr_spmv csr_todense
    """,
    "inside kernels of Pallas, for one chip": """
        async_copy_scales_to_tmem async_copy_smem_to_tmem async_copy_sparse_metadata_to_tmem async_load async_prefetch
        async_store_smem async_store_tmem atomic_cas atomic_rmw barrier barrier_arrive barrier_test barrier_wait
        commit_group commit_smem commit_tmem copy_gmem_to_smem copy_smem_to_gmem core_map custom_fusion einshape_lo
        emit_pipeline fused_call fusible get_barrier_semaphore get_global griddepcontrol_launch_dependents
        griddepcontrol_wait jaxpr_call masked_cummax masked_cummin masked_cumsum masked_sort matmul_acc_lhs matmul_pop
        matmul_push_rhs mgpu_atomic_store mpmd_map multimem_load_reduce multimem_store pack pack_elementwise
        parallel_loop pipeline_body prng_join prng_random_bits prng_seed prng_split query_cluster_cancel
        remove_memory_space sc_fetch_and_add semaphore_signal_multicast semaphore_signal_parallel set_max_registers_p
        tcgen05_commit_arrive tcgen05_mma try_cluster_cancel unique unpack unpack_elementwise wait_load_tmem
        wait_smem_to_gmem wgmma wgmma_accumulator_deref_p wgmma_accumulator_store_p wgmma_ref wgmma_wait
    """,
    "gone before a program is run, or never in one that is": """
        box_get box_set call_hi_primitive call_hi_primitive_linearized check consume create_linear custom_lin
        global_array_to_host_local_array host_local_array_to_global_array log_extend log_read new_box new_log stage
        todense trace_value unreachable
    """,
    "no finished reduction: what remains is done where the sum is wanted": "unreduced_psum_start",
}
# Written in JAX: their implementations are traced and walked.
TRACED = set(
    """
    bcoo_dot_general_sampled bcoo_extract bcoo_fromdense bcoo_sort_indices bcoo_spdot_general bcoo_sum_duplicates
    bcoo_todense bcoo_transpose bcsr_extract bcsr_fromdense bcsr_todense custom_linear_solve random_gamma
    """.split()  # noqa: SIM905
)
KNOWN = {name for names in UNCOVERED.values() for name in names.split()}

# In a process of its own: in this one, other packages have defined primitives too.
COLLECT = """
import contextlib, gc, importlib, json, warnings
warnings.simplefilter("ignore")
import jax
from jax.extend.core import Primitive
for module in (
    "jax.nn", "jax.scipy.linalg", "jax.scipy.special", "jax.experimental.sparse", "jax.experimental.sparse.linalg",
    "jax.experimental.pallas", "jax.experimental.pallas.tpu", "jax.experimental.pallas.triton",
    "jax.experimental.pallas.mosaic_gpu", "jax.experimental.pallas.fuser", "jax.experimental.checkify",
    "jax.experimental.custom_partitioning", "jax.experimental.rnn", "jax.experimental.multihost_utils",
    "jax.experimental.key_reuse", "jax.experimental.xla_metadata", "jax.experimental.compute_on", "jax.export",
    "jax.ffi", "jax._src.cudnn.fusion", "jax._src.cudnn.fused_attention_stablehlo",
    "jax._src.cudnn.scaled_matmul_stablehlo",
):
    with contextlib.suppress(ImportError):
        importlib.import_module(module)
print(json.dumps(sorted({o.name for o in gc.get_objects() if isinstance(o, Primitive)})))
"""


@pytest.fixture(scope="module")
def primitives() -> set[str]:
    done = subprocess.run([sys.executable, "-c", COLLECT], capture_output=True, text=True, check=True, timeout=100)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_jax_has_the_primitives_we_know(primitives):
    """The collection works: it finds hundreds, of all corners."""
    assert len(primitives) > 250
    assert {"dot_general", "scan", "cholesky", "psum", "bcoo_dot_general", "pallas_call", "ffi_call"} <= primitives


def test_every_primitive_has_a_price_or_a_reason(primitives):
    without = primitives - set(RULES) - WALKED - TRACED - KNOWN
    if not jax.__version__.startswith("0.10."):
        # The list is of 0.10; a later JAX has new primitives, which `count` names, so that nothing is silently 0.
        pytest.skip(f"primitives of jax {jax.__version__} without a price: {', '.join(sorted(without)) or 'none'}")
    assert not without, "give each a price in hardware/flops_jax/, or a reason in UNCOVERED"


def test_no_reason_is_stale():
    assert not KNOWN & (set(RULES) | WALKED | TRACED)


def test_every_rule_has_one_place():
    """What is free of bytes is free of FLOPs, and kinds are those of Cost."""
    from hardware.cost import KINDS

    assert set(KIND) <= set(RULES)
    assert set(KIND.values()) <= set(KINDS)
    assert set(VIEWS.split()) <= set(RULES)
    assert all(KIND[name] == "elementwise" for name in VIEWS.split())
    assert not set(VIEWS.split()) & (TAKES | set(PUTS))
    assert not set(RULES) & WALKED
