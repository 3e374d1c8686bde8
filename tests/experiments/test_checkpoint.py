"""A run that a signal stops goes on from its checkpoint and leaves the record that it would have left, to the bit."""

from __future__ import annotations

import dataclasses
import json
import logging
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from experiments.checkpoint import FILE, Checkpoint
from experiments.continued_meter import ContinuedMeter, sum_of
from experiments.interrupt import HeldSignals, Interrupted
from experiments.job import Job, Lane
from experiments.progress import Reporter
from experiments.record import Record
from experiments.run import run
from experiments.store import Store
from hardware.devices import Device
from hardware.energy import Unmeasured
from hardware.meter import PeakMemory, Reading
from learners.backends.base import Recipe
from learners.discovery import models
from learners.learner import Budget
from tests.learners.conftest import small_task

LANES = (Lane(0), Lane(1, 0.02))
STEPS = 30
MLP = {"name": "mlp", "width": 4, "depth": 1}
FIT = {"name": "true_physics"}


def job_of(options: dict[str, Any] = MLP, backend: str = "torch", task: Any = None, **budget: Any) -> Job:
    recipe, budget = Recipe(batch=16, warmup_steps=5), budget or {"sample": STEPS * 16}
    tree = {
        "task": {"name": "pendulum", "data_seed": 0}, "model": options, "backend": backend, "dtype": "float32",
        "training": dataclasses.asdict(recipe), "budget": budget,
    }  # fmt: skip
    model = models.load(options["name"])(**{key: value for key, value in options.items() if key != "name"})
    task = task or small_task("pendulum")
    return Job(task, model, options, Budget(**budget), recipe, Device("cpu", "here"), tree)


class Stopper(Reporter):
    """A reporter with a signal in its hand: it comes while the chunk of this number is being told of."""

    def __init__(self, chunk: int | None = None, number: int = signal.SIGTERM) -> None:
        super().__init__(quiet=True)
        self.chunk, self.number = chunk, number
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    @contextmanager
    def training(self, label: str) -> Iterator[Any]:
        seen = 0

        def show(state: Any) -> None:
            nonlocal seen
            seen += 1
            if seen == self.chunk:
                signal.raise_signal(self.number)

        yield show


class Untracked:
    """A tracker of nothing."""

    def cpu_seconds(self) -> float:
        return 0.0

    def run(self, **_: Any) -> Any:
        return self

    def log(self, values: Any) -> None: ...

    def summary(self, values: Any) -> None: ...

    def finish(self, how: str) -> None: ...


def go(job: Job, root: Path, stop: int | None = None, lanes: Sequence[Lane] = LANES, **options: Any) -> list[Record]:
    tracker: Any = Untracked()
    checkpoint = options.pop("checkpoint", root / "checkpoint")
    return run(job, lanes, Store(root), tracker, Stopper(stop), checkpoint=checkpoint, **options)


def stopped(job: Job, root: Path, chunk: int, **options: Any) -> int:
    with pytest.raises(Interrupted) as stop:
        go(job, root, chunk, **options)
    return stop.value.kept


def weights(root: Path, record: Record) -> dict[str, np.ndarray]:
    with np.load(root / record.identity / "weights.npz") as file:
        return {name: file[name] for name in file.files}


def assert_same(found: Sequence[Record], root: Path, whole: Sequence[Record], other: Path) -> None:
    """All that is not read from a clock or a meter."""
    for one, two in zip(found, whole, strict=True):
        assert (one.identity, one.status, one.metrics) == (two.identity, two.status, two.metrics)
        timeless = [[dataclasses.replace(p, seconds=0, energy_j=None) for p in r.curve] for r in (one, two)]
        assert timeless[0] == timeless[1]
        for name in ("train_flop", "train_flop_executed", "train_flop_by_kind", "train_operations", "shared_by"):
            assert getattr(one.costs, name) == getattr(two.costs, name), name
        for name, value in weights(other, two).items():
            np.testing.assert_array_equal(weights(root, one)[name], value)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Record], Path]:
    """The run of `job_of()`, never stopped."""
    root = tmp_path_factory.mktemp("whole")
    return go(job_of(), root), root


@pytest.mark.parametrize("stops", [[2], [5, 3, 2]])
def test_a_stopped_run_ends_as_if_it_had_not_been(whole: Any, tmp_path: Path, stops: list[int]) -> None:
    seconds = 0.0
    for chunk in stops:
        assert stopped(job_of(), tmp_path, chunk) == len(LANES)
        assert (tmp_path / "checkpoint" / FILE).exists()
        [partial, _] = (Store(tmp_path).load(job_of().identity(lane)) for lane in LANES)
        assert partial is not None and partial.status == "interrupted" and partial.metrics == {}
        assert partial.costs.seconds["train"] > seconds  # what was used before counts on
        seconds = partial.costs.seconds["train"]
    found = go(job_of(), tmp_path)
    assert_same(found, tmp_path, *whole)
    for record in found:
        assert record.costs.seconds["train"] == record.curve[-1].seconds > seconds
        assert all(a.seconds < b.seconds for a, b in zip(record.curve, record.curve[1:], strict=False))
    assert not (tmp_path / "checkpoint").exists()


def test_a_stopped_run_in_jax(tmp_path: Path) -> None:
    job = job_of(backend="jax")
    expected = go(job, tmp_path / "whole")
    stopped(job, tmp_path / "parts", 4)
    assert_same(go(job, tmp_path / "parts"), tmp_path / "parts", expected, tmp_path / "whole")


def test_lanes_of_unequal_cost_stop_one_by_one(tmp_path: Path) -> None:
    """The first has its record, the second goes on."""
    options = {"name": "neural_ode", "width": 4, "depth": 1, "solver": "dopri5"}
    job = job_of(options, flop=1e6)
    expected = go(job, tmp_path / "whole")
    parts = tmp_path / "parts"
    go(job, parts, lanes=LANES[:1])
    stopped(job, parts, 3)
    found = go(job, parts)
    assert_same(found, parts, expected, tmp_path / "whole")


def test_what_is_kept_from_time_to_time_survives_a_kill(whole: Any, tmp_path: Path) -> None:
    """As after SIGKILL: the last chunks are lost with the process, but not what a checkpoint has of those before."""

    class Killed(BaseException):
        pass

    class Killer(Stopper):
        @contextmanager
        def training(self, label: str) -> Iterator[Any]:
            seen: list[int] = []

            def show(state: Any) -> None:
                seen.append(state.step)
                if len(seen) == 6:
                    raise Killed

            yield show

    tracker: Any = Untracked()
    with pytest.raises(Killed):
        run(job_of(), LANES, Store(tmp_path), tracker, Killer(), checkpoint=tmp_path / "c", checkpoint_s=0)
    report = Stopper()
    found = run(job_of(), LANES, Store(tmp_path), tracker, report, checkpoint=tmp_path / "c")
    assert any("going on from step" in text for text in report.said)
    assert_same(found, tmp_path, *whole)


def test_a_signal_after_training_repeats_no_training(
    whole: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any) -> Any:
        raise Interrupted(signal.SIGTERM)

    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr("experiments.execute.test_results", stop)
        go(job_of(), tmp_path)
    before = (tmp_path / "checkpoint" / FILE).stat().st_size
    assert before > 0
    with monkeypatch.context() as patch:
        patch.setattr("learners.backends.torch_engine.TorchEngine.train", None)
        assert_same(go(job_of(), tmp_path), tmp_path, *whole)


@pytest.mark.parametrize("options", [FIT, {"name": "linear"}])
def test_short_fits_start_anew(options: dict[str, Any], tmp_path: Path) -> None:
    job = job_of(options)
    stopped(job, tmp_path, 1)
    assert not (tmp_path / "checkpoint").exists()
    assert {record.status for record in go(job, tmp_path)} == {"finished"}


def test_without_a_folder_nothing_is_kept(whole: Any, tmp_path: Path) -> None:
    stopped(job_of(), tmp_path, 3, checkpoint=None)
    assert not list(tmp_path.rglob(FILE))
    assert_same(go(job_of(), tmp_path, checkpoint=None), tmp_path, *whole)


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file of a run that was stopped."""
    root = tmp_path_factory.mktemp("kept")
    stopped(job_of(), root, 4)
    return (root / "checkpoint" / FILE).read_bytes()


def loaded(data: bytes, folder: Path, job: Job | None = None, lanes: Sequence[Lane] = LANES) -> Any:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_bytes(data)
    return Checkpoint(folder, job or job_of(), lanes).load()


def edited(data: bytes, folder: Path, edit: Callable[[dict[str, Any]], Any]) -> bytes:
    """The file with other facts."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "edited.npz").write_bytes(data)
    with np.load(folder / "edited.npz") as file:
        arrays = {name: file[name] for name in file.files}
    facts = json.loads(arrays["facts"].tobytes())
    edit(facts)
    arrays["facts"] = np.frombuffer(json.dumps(facts).encode(), np.uint8)
    np.savez(folder / "edited.npz", **arrays)
    return (folder / "edited.npz").read_bytes()


WRONG: dict[str, Callable[[dict[str, Any]], Any]] = {
    "its identities": lambda facts: facts.update(identities=["0", "1"]),
    "its code": lambda facts: facts.update(code="0" * 16),
    "its format": lambda facts: facts.update(format=0),
    "attempts": lambda facts: facts.pop("attempts"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_checkpoint_of_something_else_is_refused(
    what: str, kept: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert loaded(kept, tmp_path) is not None and not caplog.records
    assert loaded(edited(kept, tmp_path, WRONG[what]), tmp_path) is None
    [record] = caplog.records
    assert what in record.getMessage() and record.getMessage().endswith("the run starts anew")


def test_other_lanes_are_other_runs(kept: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert loaded(kept, tmp_path, lanes=(Lane(0), Lane(1))) is None
    assert loaded(kept, tmp_path, lanes=LANES[:1]) is None
    assert loaded(kept, tmp_path, job_of(sample=77)) is None
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 3


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_checkpoint_is_refused_or_whole(data: st.DataObject, kept: bytes, tmp_path: Path) -> None:
    """Cut off, or with a byte changed: never an error, and never other numbers (every part has a checksum)."""
    at = data.draw(st.integers(0, len(kept) - 1))
    if data.draw(st.booleans()):
        assert loaded(kept[:at], tmp_path) is None
        return
    changed = kept[:at] + bytes([kept[at] ^ data.draw(st.integers(1, 255))]) + kept[at + 1 :]
    found, expected = loaded(changed, tmp_path), loaded(kept, tmp_path)
    if found is not None:
        assert found.snapshot.facts == expected.snapshot.facts
        for name, array in found.snapshot.arrays.items():
            np.testing.assert_array_equal(array, expected.snapshot.arrays[name])


def test_a_pickle_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    np.savez(tmp_path / FILE, facts=np.array([{"a": 1}], dtype=object))
    assert Checkpoint(tmp_path, job_of(), LANES).load() is None
    assert "allow_pickle" in caplog.text


def test_a_refused_checkpoint_costs_nothing_but_time(
    whole: Any, kept: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Readable, of this run by name, but with a learner's state that does not fit."""
    wrong = edited(kept, tmp_path, lambda facts: facts["learner"].pop("generators"))
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / FILE).write_bytes(wrong)
    found = go(job_of(), tmp_path)
    assert "the run starts anew" in caplog.text
    assert_same(found, tmp_path, *whole)


def test_a_full_disk_ends_no_training(
    whole: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("experiments.checkpoint.write_atomic", full)
    found = go(job_of(), tmp_path, checkpoint_s=0)
    assert "could not be written (No space left on device); the run goes on" in caplog.text
    assert_same(found, tmp_path, *whole)


# -- its parts --------------------------------------------------------------------------------------------------------


def test_lanes_have_the_records_of_runs_of_their_own(whole: Any, tmp_path: Path) -> None:
    """A lane's learning rate is that of the configuration of a run alone: one identity, one configuration."""
    together, alone = whole[0][1], job_of()
    tree = alone.tree | {"training": alone.tree["training"] | {"learning_rate": 0.02}}
    alone = dataclasses.replace(alone, tree=tree, recipe=dataclasses.replace(alone.recipe, learning_rate=0.02))
    [record] = go(alone, tmp_path, lanes=[Lane(1)])
    assert record.identity == together.identity and record.config == together.config
    assert record.config["training"]["learning_rate"] == 0.02 and record.costs.shared_by == 1
    assert record.costs.train_flop == together.costs.train_flop
    errors = [[point.error for point in r.curve] for r in (record, together)]
    assert errors[0] == errors[1]  # torch trains its lanes one after another
    assert go(job_of(), tmp_path, lanes=[Lane(1, 0.02)]) == [record]  # found, not run


def test_lanes_that_are_one_run_are_run_once(tmp_path: Path) -> None:
    found = go(job_of({"name": "linear"}), tmp_path, lanes=[Lane(3), Lane(4, 0.1), Lane(5)])
    assert [record.seed for record in found] == [0] and found[0].config["seed"] == 0


def test_signals_wait_and_then_come(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    try:
        with pytest.raises(Interrupted) as stop, HeldSignals() as held:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
            assert seen == [] and held.number == signal.SIGTERM
        assert seen == [signal.SIGTERM] and stop.value.signal_number == signal.SIGTERM
        with HeldSignals():
            pass
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        with HeldSignals() as held:
            signal.raise_signal(signal.SIGTERM)
        assert held.number is None and seen == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


numbers = st.none() | st.floats(0.001, 1e6)


@given(
    st.lists(st.builds(Reading, *[st.floats(0, 1e6)] * 2, *[numbers] * 5, st.integers(0, 9)), min_size=2, max_size=2)
)
def test_readings_add_up(pair: list[Reading]) -> None:
    a, b = pair
    found = sum_of(a, b)
    if b.windows == 0:
        assert found == a
        return
    assert found.seconds == a.seconds + b.seconds and found.windows == a.windows + b.windows
    for name in ("energy_j", "idle_j", "net_energy_j"):
        one, two = getattr(a, name), getattr(b, name)
        assert getattr(found, name) == (None if one is None or two is None else one + two)
    if found.uncertainty is not None:
        errors = sorted([a.uncertainty or 0.0, b.uncertainty or 0.0])
        assert errors[0] * (1 - 1e-9) <= found.uncertainty <= errors[1] * (1 + 1e-9)


def test_joules_of_another_kind_are_not_added() -> None:
    meter = ContinuedMeter(Unmeasured("no counter"))
    meter.go_on({"train": Reading(2.0, 1.0, 50.0, windows=3)}, "measured:nvml", PeakMemory(10**15, 7))
    with meter.phase("train"):
        pass
    assert meter.reading("train").energy_j is None and meter.reading("train").seconds > 2
    assert meter.peak_memory_bytes() == PeakMemory(10**15, 7) and set(meter.readings()) == {"train"}
