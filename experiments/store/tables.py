"""The columns of records: how DuckDB makes them from JSON text, and which of them a compacted part holds."""

from __future__ import annotations

import json
from typing import Any

from experiments.record import FINAL, content

NUMBERS, TEXTS = "MAP(VARCHAR, DOUBLE)", "MAP(VARCHAR, VARCHAR)"
CURVE = [
    {
        "step": "BIGINT", "samples": "BIGINT", "flop": "DOUBLE", "seconds": "DOUBLE", "energy_j": "DOUBLE",
        "train_loss": "DOUBLE", "error": "DOUBLE", "test": NUMBERS,
    }
]  # fmt: skip
# `original`: the whole text of a record that holds what UTF-8 cannot (a file name need not be UTF-8; a table must be).
STRUCTURE: dict[str, Any] = {
    **dict.fromkeys(
        ("identity", "task", "model", "backend", "device", "status", "reason", "code", "started", "role", "original"),
        "VARCHAR",
    ),
    **dict.fromkeys(("seed", "parameters", "schema"), "BIGINT"),
    **dict.fromkeys(("config", "facts", "host", "tuning"), "JSON"),
    **dict.fromkeys(("metric_units", "versions", "studies"), TEXTS),
    "metrics": NUMBERS,
    "costs": {
        **dict.fromkeys(
            ("train_flop", "train_flop_executed", "train_operations", "train_least_bytes", "train_fused_bytes",
             "train_unfused_bytes", "infer_flop_per_time_unit", "infer_seconds_per_time_unit",
             "infer_energy_j_per_time_unit", "energy_uncertainty", "idle_power_w"),
            "DOUBLE",
        ),
        **dict.fromkeys(("flop_method", "energy_method", "energy_reason", "energy_covers"), "VARCHAR"),
        **{name: ["VARCHAR"] for name in ("uncounted", "energy_notes")},
        **dict.fromkeys(("train_flop_by_kind", "seconds", "energy_j", "net_energy_j"), NUMBERS),
        **dict.fromkeys(("peak_memory_bytes", "shared_by"), "BIGINT"),
    },
    "curve": CURVE,
}  # fmt: skip

# Training windows: as the record says, else those that the task's and the model's settings make.
WINDOWS = """coalesce(
  (r.facts->>'$.train_windows')::DOUBLE,
  (r.config->>'$.task.n_train')::DOUBLE * (
    round((r.config->>'$.task.horizon')::DOUBLE / (r.config->>'$.task.spacing')::DOUBLE) + 1
    - coalesce((r.config->>'$.training.window')::DOUBLE, 1)))"""
# From a table `lines` (json, r), where r is the text by STRUCTURE.
RUNS = f"""SELECT r.identity, r.task, r.model, r.backend, r.device, r.seed, r.status, r.reason,
  coalesce(r.role, 'run') AS role, r.started, r.parameters,
  coalesce(r.studies, MAP {{}}::MAP(VARCHAR, VARCHAR)) AS studies, r.metrics, r.config,
  {", ".join(f"r.costs.{name}" for name in STRUCTURE["costs"])},
  r.costs.energy_j['train'] AS train_energy_j, r.costs.seconds['train'] AS train_seconds,
  (r.config->>'$.task.data_seed')::BIGINT AS draw, {WINDOWS} AS data, r.facts->>'$.device_name' AS device_name,
  coalesce((r.tuning->'$.trials')::VARCHAR[], []) AS trials,
  r.tuning, r.metric_units, r.facts, r.code, r.versions, r.host, r.schema, r.status IN {FINAL} AS final,
  json::VARCHAR AS json, r.original, r.curve
FROM lines"""
# What `query` shows of them, in this order.
SHOWN = (
    "identity", "task", "model", "backend", "device", "seed", "status", "reason", "role", "parameters", "metrics",
    "config", *STRUCTURE["costs"], "curve", "metric_units", "studies", "tuning", "facts", "code", "versions", "host",
    "started", "schema",
)  # fmt: skip
FROM_LINES = f"""SELECT json, json_transform(json, '{json.dumps(STRUCTURE)}') AS r
FROM read_ndjson_objects(?, maximum_object_size = 268435456)"""
CURVE_OF_JSON = f"json_transform(json, '{json.dumps({'curve': CURVE})}').curve"


def line(written: str, identity: str) -> bytes:
    """A run's record as one line of UTF-8, verified; raises ValueError as `Record.from_json` does."""
    raw, digest = content(written)
    if raw.get("identity") != identity:
        raise ValueError(f"it is the record of {raw.get('identity')}")
    return line_of(raw, digest)


def line_of(raw: dict[str, Any], digest: str) -> bytes:
    """The same of a record's content."""
    whole = json.dumps(raw | {"digest": digest}, separators=(",", ":"))
    if "\\ud" in whole:  # surrogates: a pair is a character, but one alone is nothing that UTF-8 has
        try:
            json.dumps(raw, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            kept = json.dumps(raw | {"digest": digest, "original": whole}, ensure_ascii=False)
            return kept.encode("utf-8", "replace") + b"\n"
    return whole.encode() + b"\n"


def sql_name(name: str) -> str:
    """An SQL identifier, whatever is in it."""
    return '"' + name.replace('"', '""') + '"'


def sql_text(value: str) -> str:
    """An SQL string, whatever is in it."""
    return "'" + value.replace("'", "''") + "'"
