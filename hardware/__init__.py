"""What a computation costs: FLOPs executed, bytes, joules, seconds; here, and projected elsewhere. Usable on its own.

    from hardware import count          # JAX: result, cost = count(f)(*args)
    from hardware import FlopCounter    # torch: with FlopCounter() as counter: ...; counter.cost
    from hardware import fused          # JAX: bytes and kernels of a compiled program, after fusion
    from hardware import Meter, best_energy_reader, resolve_device      # joules and seconds by phase
    from hardware import measure, measure_idle                          # joules of one call, of doing nothing
    from hardware import project, catalogue, carbon_intensity           # elsewhere; modelled, with an interval
    from hardware.calibrate import calibrate                            # what this machine really does
    from hardware import compile_for    # JAX: what the TPU compiler says, without a TPU

Importing the package imports no framework; a name does when it is first used.
"""

import importlib
from typing import Any

_HOMES = {
    "Cost": ("hardware.cost", "Cost"),
    "count": ("hardware.flops_jax", "count"),
    "static_cost": ("hardware.flops_jax", "static_cost"),
    "FlopCounter": ("hardware.flops_torch", "FlopCounter"),
    "UncountableError": ("hardware.flops_torch.scope", "UncountableError"),
    "Meter": ("hardware.meter", "Meter"),
    "measure": ("hardware.energy", "measure"),
    "measure_idle": ("hardware.energy", "measure_idle"),
    "project": ("hardware.projection", "project"),
    "carbon_intensity": ("hardware.grid", "carbon_intensity"),
    "fused": ("hardware.compiled_jax", "fused"),
    "compile_for": ("hardware.tpu", "compile_for"),
    "TpuError": ("hardware.tpu", "TpuError"),
    "best_energy_reader": ("hardware.energy", "best"),
    "resolve_device": ("hardware.devices", "resolve"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module hardware has no attribute {name}; it offers {', '.join(sorted(_HOMES))}")
    module, attribute = _HOMES[name]
    return getattr(importlib.import_module(module), attribute)
