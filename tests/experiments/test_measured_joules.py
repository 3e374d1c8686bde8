"""Joules of a run on a machine whose counter works: phases, idle and net, shares of seeds, in the record and the table.

No machine of ours has a counter, so that without this file nothing
notices if a run forgets the idle power, the net joules, or charges one phase to another.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from experiments.record import Record
from hardware import energy
from hardware.energy.reader import Reader

POWER_W = 10.0
TINY = ["task.n_train=8", "task.n_val=2", "task.n_test=2", "task.horizon=2", "model.width=8", "training.batch=8"]


class Steady(Reader):
    """A counter of a device that always draws 10 W, read without delay."""

    method, uncertainty, update_s, covers = "measured:stand-in", 0.01, 0.0, "a stand-in"

    def read_j(self) -> float:
        return POWER_W * time.perf_counter()


@pytest.fixture
def records(here: Callable[..., Any], no_figure: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Record]:
    monkeypatch.setattr("hardware.energy.best", lambda *args, **options: Steady())
    monkeypatch.setattr("hardware.energy.measure_idle", functools.partial(energy.measure_idle, seconds=0.05))
    words = ["run", "pendulum", "model=mlp", *TINY, "references=[linear]", "budget.sample=800", "tracking=none"]
    done = here(*words, "seed=0,1", f"runs={tmp_path / 'runs'}")
    assert done.code == 0, done.err
    assert "measured ±1%" in " ".join(done.out.split())
    return [Record.from_json(path.read_text()) for path in (tmp_path / "runs").glob("*/record.json")]


def test_every_phase_is_charged_the_joules_of_its_own_seconds(records: list[Record]) -> None:
    assert sorted((r.model, r.seed) for r in records) == [("linear", 0), ("mlp", 0), ("mlp", 1)]
    for record in records:
        costs = record.costs
        assert (costs.energy_method, costs.energy_reason) == ("measured:stand-in", "")
        assert set(costs.energy_j) == set(costs.seconds) - {"data"} == {"compile", "train", "evaluate", "infer"}
        for phase, joules in costs.energy_j.items():
            # Clock and counter are read one after the other, some 10 µs apart; a busy machine may put 10 ms between.
            windows = len(record.curve) + 1
            assert joules == pytest.approx(POWER_W * costs.seconds[phase], rel=0.02, abs=POWER_W * 0.01 * windows)
        assert costs.energy_uncertainty == pytest.approx(0.01)


def test_idle_power_and_net_joules_are_in_the_record(records: list[Record]) -> None:
    for costs in (record.costs for record in records):
        assert costs.idle_power_w == pytest.approx(POWER_W, rel=0.2)
        assert set(costs.net_energy_j) == set(costs.energy_j)
        for phase, net in costs.net_energy_j.items():
            gross, idle_w = costs.energy_j[phase], costs.idle_power_w
            assert gross is not None and idle_w is not None
            idle_j = idle_w * costs.seconds[phase]
            assert net == pytest.approx(gross - idle_j, abs=1e-9 * gross)


def test_seeds_share_and_the_curve_ends_at_the_total(records: list[Record]) -> None:
    both = [record for record in records if record.model == "mlp"]
    assert both[0].costs.energy_j == both[1].costs.energy_j and both[0].costs.shared_by == 2
    for record in records:
        assert record.curve[-1].energy_j == pytest.approx(record.costs.energy_j["train"])
