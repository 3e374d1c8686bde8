"""Traps: idle and boundary (GPU only against node); counter against integral. What a reader knows reaches a record."""

from __future__ import annotations

import json
from typing import Any

from hardware.energy import ModelledCpu


def test_every_record_says_what_draws_its_joules_and_what_was_wrong(smoke: Any) -> None:
    for raw in smoke.records.values():
        costs = json.loads(json.dumps(raw))["costs"]
        if costs["energy_method"].startswith("modelled:cpu"):
            assert costs["energy_covers"] == ModelledCpu.covers
        assert isinstance(costs["energy_notes"], list)
