"""`sweep` as a user types it, with the real worker on a tiny study: what it leaves, says and refuses."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.errors import UserError
from experiments.record import REFERENCE, RUN, TRIAL
from experiments.store import Store, StoreError
from experiments.study import failures
from experiments.study.engine import Options, Sweep
from experiments.study.folder import StudyFolder
from experiments.study.local import LocalExecutor
from experiments.study.overrides import with_settings
from experiments.study.plan import make_plan
from experiments.study.spec import Study, load_study, parse
from experiments.study.supervise import Order
from hardware.devices import Device, cpu_name

pytestmark = pytest.mark.timeout(300)  # workers start one after another, each with seconds of imports
CPU = Device("cpu", cpu_name())
SETTINGS = "budget.flop: 2.0e+6, training.batch: 8, task.n_val: 2, task.n_test: 2, task.horizon: 2, task.n_train: 4"
LINEAR = f"""
references: [linear]
settings: {{{SETTINGS}}}
grid: {{task: pendulum, model: linear}}
"""
TINY = f"""
# As small as a study can be that has everything.
question: Does it run?
black_box: [mlp]
references: [linear]
settings: {{{SETTINGS}, model.width: 4}}
grid: {{task: pendulum, model: mlp, seed: [0, 1]}}
tuning: {{trials: 2, space: {{training.learning_rate: {{log_uniform: [1.0e-3, 1.0e-2]}}}}}}
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("study") / "tiny.yaml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="module")
def swept(cli: Callable[..., Any], tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """The tiny study after its sweep: what the command said, and the store."""
    runs = tmp_path_factory.mktemp("swept") / "runs"
    return cli("sweep", f"study={tiny}", "device=cpu", "tracking=none", "--runs", str(runs), timeout=280), runs


def test_a_study_is_run_to_its_end(swept: tuple[Any, Path], tiny: Path) -> None:
    done, runs = swept
    assert done.code == 0, done.err
    study = load_study(str(tiny))
    records = Store(runs).records()
    assert {record.status for record in records} == {"finished"}
    assert all(record.studies == {"tiny": study.hash} for record in records)
    assert sorted((r.role, r.model, r.seed) for r in records) == [
        (REFERENCE, "linear", 0), (RUN, "mlp", 0), (RUN, "mlp", 1), (TRIAL, "mlp", 1000), (TRIAL, "mlp", 1000)
    ]  # fmt: skip
    assert "5/5 runs done" in done.err and "Traceback" not in done.err
    assert done.out.splitlines()[1].split() == ["task", "mlp", "linear"]
    assert done.out.splitlines()[2].startswith("pendulum")
    assert f"python -m experiments report study={tiny} device=cpu --runs={runs}" in done.out
    assert (runs / study.folder / "study.yaml").read_text() == TINY
    assert not list((runs / study.folder / "checkpoints").glob("*"))


def test_a_tuned_run_names_its_trials_and_has_the_better_rate(swept: tuple[Any, Path]) -> None:
    records = Store(swept[1]).records()
    trials = {r.identity: r for r in records if r.role == TRIAL}
    best = min(trials.values(), key=lambda r: min(p.error for p in r.curve if p.error is not None))
    for record in records:
        if record.role == RUN:
            assert set(record.tuning["trials"]) == set(trials)
            rate = record.config["training"]["learning_rate"]
            assert rate == record.tuning["chosen"]["training.learning_rate"] == best.config["training"]["learning_rate"]


def test_the_same_command_finds_everything(swept: tuple[Any, Path], tiny: Path, here: Callable[..., Any]) -> None:
    done = here("sweep", f"study={tiny}", "device=cpu", "tracking=none", f"runs={swept[1]}", "--json")
    assert done.code == 0, done.err
    body = json.loads(done.out)
    assert (body["done"], body["found"], body["failed"]) == (5, 5, [])
    assert body["statuses"] == {"finished": 5}
    assert set(body["errors"]["pendulum"]) == {"mlp", "linear"}


def test_collect_says_what_is_missing(
    swept: tuple[Any, Path], tiny: Path, here: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported: list[Any] = []
    monkeypatch.setattr("experiments.study.report.write_study_report", lambda *a, **_: reported.append(a))
    whole = here("sweep", f"study={tiny}", "--collect", f"runs={swept[1]}", "device=cpu")
    assert whole.code == 0 and "missing" not in whole.out and "pendulum" in whole.out
    store = Store(tmp_path / "part")
    store.prepare()
    for record in Store(swept[1]).records():
        if record.role != RUN:
            store.save(replace(record, studies={}))  # as another study left it
    part = here("sweep", f"study={tiny}", "--collect", f"runs={store.root}", "device=cpu")
    assert part.code == 0 and "missing: 2 of 5 runs, in 1 units (1 not begun)" in part.out
    assert all("tiny" in record.studies for record in store.records())
    assert [words for words, *_ in reported] == [[f"study={tiny}", "device=cpu"]] * 2


def test_parts_together_are_the_whole(swept: tuple[Any, Path], tiny: Path, here: Callable[..., Any]) -> None:
    """A tuned run is in the same part as its trials: two parts have what one command has, none of it twice."""
    done = []
    for part in ("1/2", "2/2"):
        words = ("sweep", f"study={tiny}", "device=cpu", "tracking=none", f"runs={swept[1]}", "--json")
        done.append(json.loads(here(*words, "--shard", part).out))
    assert sum(body["runs"] for body in done) == 5 == sum(body["done"] for body in done)


def test_settings_of_the_command_make_another_study(tiny: Path) -> None:
    study = load_study(str(tiny))
    assert with_settings(study, []).hash == study.hash == with_settings(study, ["device=cpu"]).hash
    changed = with_settings(study, ["budget.flop=3e6", "dtype=float64"])
    assert changed.hash != study.hash and changed.folder != study.folder
    assert changed.hash == with_settings(study, ["dtype=float64", "budget.flop=3e6"]).hash
    tree = make_plan(changed, CPU).units[0].tree
    assert (tree["budget"]["flop"], tree["dtype"]) == (3e6, "float64")
    own = parse("own", TINY.replace("task.n_train: 4", "task.n_train: 4, device: cpu"))
    assert with_settings(own, ["device=auto"]).hash != own.hash  # the study names its device itself


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["seed=3"], "the study varies seed itself"),
        (["budget.flopp=3"], "flopp"),
        (["budget.flop"], "which study?"),
        (["budget.flop=["], "cannot be read as key=value"),
        (["runs=a", "--runs", "b"], "given twice"),
        (["device=cpu", "device=cuda"], "given twice"),
        (["tracking=loudly"], "tracking must be"),
        (["--shard", "0/2"], "--shard must be i/n"),
        (["--shard", "3/2"], "--shard must be i/n"),
        (["--shard", "half"], "--shard must be i/n"),
        (["--packing", "0"], "--packing must be 1 or more"),
        (["--retries", "-1"], "--retries must be 0 or more"),
        (["--quick"], "--quick belongs to --dry-run"),
        (["--grid", "FRA"], "--grid belongs to --dry-run"),
        (["--dry-run", "--collect"], "choose one"),
        (["--engine", "slurm", "device=cpu"], "sbatch"),
        (["--engine", "moon"], "invalid choice"),
        (["device=moon"], "device"),
    ],
)
def test_mistakes_are_told_in_a_line(
    words: list[str], message: str, tiny: Path, here: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    done = here("sweep", f"study={tiny}", *words)
    assert done.code == 2 and message in done.err, done.err
    assert len([line for line in done.err.splitlines() if line.startswith("error:")]) == 1


def test_a_study_must_be_named(here: Callable[..., Any]) -> None:
    assert "which study?" in here("sweep").err
    assert here("sweep", "study=quik").code == 2


def test_a_dry_run_prices_what_is_left_and_runs_nothing(
    swept: tuple[Any, Path], tiny: Path, here: Callable[..., Any], tmp_path: Path
) -> None:
    words = ("sweep", f"study={tiny}", "device=cpu", "--dry-run", "--quick", "--json")
    new = json.loads(here(*words, f"runs={tmp_path / 'new'}").out)
    assert (new["runs"], new["done"], new["flop"]) == (5, 0, 4 * 2e6)  # of training by gradient, trials included
    left = json.loads(here(*words, f"runs={swept[1]}").out)
    assert (left["runs"], left["done"]) == (0, 5)
    assert not (tmp_path / "new" / "studies").exists()
    text = here(*words[:-1], f"runs={tmp_path / 'new'}").out
    assert "study tiny" in text and "time " in text and "money " in text


# -- The worker -----------------------------------------------------------------------------------------------------


@pytest.fixture
def linear() -> Study:
    return parse("linear", LINEAR)


@pytest.fixture
def order(linear: Study, tmp_path: Path) -> Order:
    [unit] = make_plan(linear, CPU).units
    unit.tree["tracking"]["mode"] = "none"
    return Order(asdict(unit), str(tmp_path), linear.folder, {"linear": linear.hash}, "cpu", linear.metric)


def work(order: Order) -> tuple[Any, list[dict[str, Any]]]:
    """A worker's work in this process: what came of it, and its events."""
    import experiments.study.work as module

    events: list[dict[str, Any]] = []
    raw = json.loads(json.dumps(asdict(order)))
    return module.work(raw, lambda event, **values: events.append({"event": event, **values})), events


@pytest.fixture
def quiet_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.study.work.log_to_console", lambda: None)


def test_a_record_says_that_its_device_was_shared(order: Order, quiet_log: None, tmp_path: Path) -> None:
    failure, events = work(replace(order, packing=3))
    assert failure is None
    [record] = Store(tmp_path).records()
    assert "up to 3 runs shared the device" in record.costs.energy_notes[-1]
    assert record.studies == order.study
    [event] = [event for event in events if event["event"] == "record"]
    assert event["identity"] == record.identity == order.unit["identities"][0]
    assert event["error"] == record.metrics["one_step_nrmse"]
    assert events[0]["event"] == "start"


def test_a_machine_of_another_kind_is_refused(order: Order, quiet_log: None, tmp_path: Path) -> None:
    """Its runs would be others than those planned, and would never be found again."""
    other = replace(order, unit=order.unit | {"identities": ["f" * 20]})
    failure, _ = work(other)
    assert failure.kind == failures.MISTAKE and "machines of one kind" in failure.reason
    assert Store(tmp_path).records() == []


def test_runs_are_tracked_as_a_group(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from experiments.study.work import GroupedTracker

    opened: list[dict[str, Any]] = []

    class Backend:
        def open_run(self, **spec: Any) -> None:
            opened.append(spec)

    tracker = GroupedTracker("offline", tmp_path, "project", {"tiny": "hash"})
    monkeypatch.setattr(tracker, "_put", lambda job: job(Backend()))
    tracker.run(name="mlp-0", group="pendulum", job_type="mlp", config={"seed": 0})
    assert opened == [
        {"name": "pendulum-mlp-0", "group": "tiny", "job_type": "mlp", "config": {"seed": 0}, "tags": ["pendulum"]}
    ]


FULL_DISK = """
import errno, sys
from experiments.store.files import LocalFiles
write = LocalFiles.write
def full(self, name, data):
    if name.endswith("record.json"):
        raise OSError(errno.ENOSPC, "No space left on device")
    write(self, name, data)
LocalFiles.write = full
from experiments.study.worker import main
sys.exit(main())
"""


def test_a_full_disk_ends_the_sweep_with_a_line_and_loses_nothing(linear: Study, tmp_path: Path) -> None:
    store = Store(tmp_path)
    worker = (sys.executable, "-c", FULL_DISK)
    units = [
        replace(u, tree=u.tree | {"tracking": {"mode": "none", "project": "p"}}) for u in make_plan(linear, CPU).units
    ]
    sweep = Sweep(units, linear, store, LocalExecutor("cpu", "jax", 1), Options(worker=worker))
    with pytest.raises(StoreError, match=r"No space left on device.*kept in") as told:
        sweep.run()
    path = Path(str(told.value).rpartition("kept in ")[2])
    assert json.loads(path.read_text())["status"] == "finished"
    path.unlink()


def test_a_unit_that_cannot_be_run_fails_with_its_line_and_the_command_with_3(
    here: Callable[..., Any], tmp_path: Path
) -> None:
    path = tmp_path / "poor.yaml"
    path.write_text(TINY.replace("2.0e+6", "2.0e+0").replace("references: [linear]", "references: []"))
    done = here("sweep", f"study={path}", "device=cpu", "tracking=none", f"runs={tmp_path / 'runs'}")
    assert done.code == 3
    assert "failed (mistake): mlp on pendulum" in done.err and "less than one training step" in done.err
    assert "one of its trials failed" in done.err
    assert "no run has come to a result" in done.out


# -- Stopped and gone on with ---------------------------------------------------------------------------------------

LONG = TINY.partition("tuning:")[0].replace("budget.flop: 2.0e+6", "budget: sample, budget.sample: 1600000")


@pytest.fixture
def begin(environment: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    started = []

    def start(*words: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "experiments", "sweep", *words, "device=cpu", "tracking=none"]
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=pipe, stderr=pipe, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_sweep_that_was_stopped_comes_to_the_same_records(
    begin: Callable[..., subprocess.Popen[str]], tmp_path: Path, number: signal.Signals
) -> None:
    """Bit for bit on a CPU: weights, curve and FLOP. Only seconds and joules are of their own time."""
    path = tmp_path / "long.yaml"
    path.write_text(LONG)
    study = load_study(str(path))
    stores = {name: Store(tmp_path / name) for name in ("whole", "stopped")}
    process = begin(f"study={path}", "--runs", str(stores["stopped"].root))
    files = StudyFolder(stores["stopped"], study.folder)
    limit = time.monotonic() + 200
    while not any(state.step > 100 and state.state == "running" for state in files.states().values()):
        assert time.monotonic() < limit and process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    _, said = process.communicate(timeout=120)
    if number == signal.SIGTERM:
        assert process.returncode == 143 and "the same command goes on" in said.splitlines()[-1]
        assert list((stores["stopped"].root / study.folder / "checkpoints").glob("*/*"))
    for name in stores:
        done = begin(f"study={path}", "--runs", str(stores[name].root))
        _, said = done.communicate(timeout=300)
        assert done.returncode == 0, said
    whole, stopped = ({(r.model, r.seed): r for r in store.records()} for store in stores.values())
    assert whole.keys() == stopped.keys() and len(whole) == 3
    for key, record in whole.items():
        other = stopped[key]
        assert record.identity == other.identity and record.metrics == other.metrics
        assert record.costs.train_flop == other.costs.train_flop
        timeless = [[replace(p, seconds=0.0, energy_j=None) for p in r.curve] for r in (record, other)]
        assert timeless[0] == timeless[1]
        with (
            np.load(stores["whole"].folder(record.identity) / "weights.npz") as a,
            np.load(stores["stopped"].folder(record.identity) / "weights.npz") as b,
        ):
            assert a.files == b.files
            assert all(np.array_equal(a[name], b[name]) for name in a.files)


def test_a_key_of_the_grid_is_refused_by_name(tiny: Path) -> None:
    with pytest.raises(UserError, match="varies model itself"):
        with_settings(load_study(str(tiny)), ["model=linear"])
