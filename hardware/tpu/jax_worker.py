"""The TPU compiler in a process of its own: libtpu locks a file, writes to stderr, and may end the process it is in.

    python hardware/tpu/jax_worker.py FOLDER TOPOLOGY CHIP_CONFIG

reads FOLDER/program.bin, a serialised `jax.export` (its op_names, and with them the loops' labels, survive), and leaves
FOLDER/program.hlo and FOLDER/result.json. `hardware.tpu` sets the environment. It imports nothing of ours.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import jax
from jax import export
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding

MEMORY = ("argument", "output", "temp", "alias", "generated_code")


def compile_here(folder: Path, topology: str, chip_config: str) -> dict[str, Any]:
    """Compile FOLDER/program.bin for one device of a topology. Returns what `result.json` holds; `stage`: how far."""
    result: dict[str, Any] = {"stage": "topology"}
    try:
        config = {"chip_config_name": chip_config} if chip_config else {}
        device = topologies.get_topology_desc(platform="tpu", topology_name=topology, **config).devices[0]
        result["stage"] = "compile"
        exported = export.deserialize(bytearray((folder / "program.bin").read_bytes()))
        place = SingleDeviceSharding(device)
        specs = [jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=place) for a in exported.in_avals]
        start = time.perf_counter()
        compiled = jax.jit(exported.call, out_shardings=place).lower(*specs).compile()
        result["compile_s"] = time.perf_counter() - start
        memory = compiled.memory_analysis()
        result["memory"] = {name: getattr(memory, f"{name}_size_in_bytes", None) for name in MEMORY}
        (folder / "program.hlo").write_text(compiled.as_text() or "")
        result["stage"] = "done"
    except Exception as error:  # whatever libtpu or XLA raises is the reason that the parent reports
        result["error"] = f"{type(error).__name__}: {error}"
    return result


if __name__ == "__main__":
    home = Path(sys.argv[1])
    (home / "result.json").write_text(json.dumps(compile_here(home, *sys.argv[2:4])))
