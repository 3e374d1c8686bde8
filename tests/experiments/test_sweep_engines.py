"""Every engine behaves alike: Ray, and SLURM through submitit with stand-ins for its four commands."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from experiments.errors import UserError
from experiments.store import Store
from experiments.study import failures
from experiments.study.engine import Options, Progress, Stopped, Sweep
from experiments.study.executors import Executor, start
from experiments.study.folder import StudyFolder
from experiments.study.unit_state import INTERRUPTED
from hardware.devices import Device, cpu_name
from tests.experiments import fake_worker
from tests.experiments.fake_worker import STUDY, unit

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="signals"),
    # Ray's first start forks and at once executes another program; JAX warns where tests before have started it.
    pytest.mark.filterwarnings(r"ignore:os\.fork\(\) was called:RuntimeWarning"),
]

# One program under four names: it runs a job's script at once, here, an array task by task, and tells how it stands.
SLURM = """
import json, os, re, signal, subprocess, sys, time
from pathlib import Path

name, words, state = Path(sys.argv[0]).name, sys.argv[1:], Path(sys.argv[0]).parent / "jobs"
state.mkdir(exist_ok=True)
if name == "sbatch" and (state.parent / "refuse").exists():
    sys.exit("sbatch: error: Batch job submission failed: Invalid account")
elif name == "sbatch":
    script = Path(words[-1]).read_text()
    array = re.search(r"^#SBATCH --array=0-(\\d+)", script, re.M)
    output = re.search(r"^#SBATCH --output=(.*)", script, re.M)[1].strip("'")
    number = 100 + len(list(state.iterdir()))
    for task in range(int(array[1]) + 1) if array else [None]:
        job = f"{number}_{task}" if array else f"{number}"
        more = {"SLURM_JOB_ID": str(number), "SLURM_NTASKS": "1", "SLURM_JOB_NUM_NODES": "1", "SLURM_PROCID": "0",
                "SLURM_LOCALID": "0", "SLURM_NODEID": "0", "SLURM_JOB_NODELIST": "here", "SLURM_SUBMIT_DIR": "."}
        if array:
            more |= {"SLURM_ARRAY_JOB_ID": str(number), "SLURM_ARRAY_TASK_ID": str(task)}
        process = subprocess.Popen(["bash", words[-1]], env=os.environ | more, start_new_session=True,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        (state / job).write_text(str(process.pid))
    (state / "last.sbatch").write_text(script)
    print(f"Submitted batch job {number}")
elif name == "srun":
    at = next(i for i, word in enumerate(words) if "python" in word)
    os.execvp(words[at], words[at:])
elif name == "scancel":
    for job in words:
        if (state / job).exists():
            os.killpg(int((state / job).read_text()), signal.SIGTERM)
elif name == "sacct":
    print("JobID|State|NodeList")
    for path in state.iterdir():
        if path.suffix:
            continue
        pid = path.read_text()
        stat = Path(f"/proc/{pid}/stat")
        alive = stat.exists() and stat.read_text().split()[2] != "Z"
        print(f"{path.name}|{'RUNNING' if alive else 'COMPLETED'}|here")
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A SLURM of this machine, first on the path."""
    folder = tmp_path_factory.mktemp("slurm")
    for name in ("sbatch", "srun", "sacct", "scancel"):
        (folder / name).write_text(f"#!{sys.executable}\n{SLURM}")
        (folder / name).chmod(0o755)
    before = os.environ["PATH"]
    os.environ["PATH"] = f"{folder}{os.pathsep}{before}"
    yield folder
    os.environ["PATH"] = before


@pytest.fixture(scope="module", params=[pytest.param("ray", marks=pytest.mark.slow), "slurm"])
def executor(
    request: pytest.FixtureRequest, cluster: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Executor]:
    pytest.importorskip({"ray": "ray", "slurm": "submitit"}[request.param], reason="the [cluster] extra is not here")
    made = start(request.param, "cpu", "jax", 1, tmp_path_factory.mktemp("jobs"))
    yield made
    made.close()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "runs")
    made.prepare()
    return made


@pytest.mark.timeout(300)
def test_units_fail_and_finish_as_they_do_at_home(executor: Executor, store: Store, tmp_path: Path) -> None:
    assert executor.device == Device("cpu", cpu_name())
    worker = fake_worker.command(tmp_path)
    good, killed, faulty = unit(1, "ok"), unit(2, "kill", "ok"), unit(3, "bug")
    progress = Sweep([good, killed, faulty], STUDY, store, executor, Options(worker=worker)).run()
    assert progress.runs_done == 4 and progress.retried == 1
    [(failed, failure)] = progress.failed.values()
    assert failed.key == faulty.key and failure.kind == failures.BUG and "a fault of ours" in failure.traceback
    assert sorted(fake_worker.ran(store.root)) == [good.key, killed.key, killed.key, faulty.key]


@pytest.mark.timeout(300)
def test_stopping_lets_workers_keep_what_they_have(executor: Executor, store: Store, tmp_path: Path) -> None:
    units = [unit(1, "hang"), unit(2, "hang")]
    sweep = Sweep(units, STUDY, store, executor, Options(worker=fake_worker.command(tmp_path)))
    files = StudyFolder(store, STUDY.folder)

    def show(progress: Progress, _: StudyFolder) -> None:
        if any(state.step == 1 for state in files.states().values()):
            sweep.stop(signal.SIGTERM)

    sweep.show = show
    with pytest.raises(Stopped):
        sweep.run()
    begun = fake_worker.ran(store.root)
    assert begun
    assert {key: state.state for key, state in files.states().items()} == dict.fromkeys(begun, INTERRUPTED)


def test_an_array_is_sent_as_one(cluster: Path, store: Store, tmp_path: Path) -> None:
    pytest.importorskip("submitit", reason="the [cluster] extra is not here")
    made = start("slurm", "cpu", "jax", 1, tmp_path / "jobs")
    units = [unit(number, "ok") for number in range(1, 4)]
    assert Sweep(units, STUDY, store, made, Options(worker=fake_worker.command(tmp_path))).run().runs_done == 6
    script = (cluster / "jobs" / "last.sbatch").read_text()
    for line in ("--array=0-2%3", "--exclusive", "--signal=USR2@120", "--time=1440"):
        assert f"#SBATCH {line}" in script
    (cluster / "refuse").touch()
    with pytest.raises(UserError, match=r"SLURM took no jobs.*Invalid account"):
        start("slurm", "cpu", "jax", 1, tmp_path / "jobs")
    (cluster / "refuse").unlink()
    with pytest.raises(UserError, match="device=cpu or device=cuda"):
        start("slurm", "auto", "jax", 1, tmp_path / "jobs")


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs the package ray.*\[cluster\]"):
        start("ray", "cpu", "jax", 1, tmp_path)
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    with pytest.raises(UserError, match="needs the package ray"):
        start(None, "cpu", "jax", 1, tmp_path)
