"""A worker that does as its unit says: for tests of sweeps, because the real one takes seconds to start."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from experiments.job import Lane
from experiments.record import Record
from experiments.study.spec import Study
from experiments.study.unit import Unit

STUDY = Study(name="tiny", hash="0123456789abcdef", text="", grid=({"task": ("pendulum",)},))

# What a unit's tree says under "do", one word an attempt. It notes each start and end, to see what ran when.
WORKER = """
import json, os, signal, sys, threading, time
from pathlib import Path

order = json.loads(sys.stdin.readline())
unit, root = order["unit"], Path(order["root"])
words = unit["tree"]["do"]
word = words[min(order["attempt"], len(words)) - 1]
os.dup2(2, 9)

def say(event, **values):
    print(json.dumps({"event": event, **values}), flush=True)

def note(what):
    with open(root.parent / "ran", "a") as file:
        file.write(f"{what} {unit['key']} {time.monotonic()}\\n")

def save(*names):
    for name in names:
        (root / name).mkdir(exist_ok=True)
        (root / name / "record.json").write_text(unit["tree"]["records"][name])
        say("record", identity=name, status="finished", error=0.5)

def stop(*_):
    note("end")
    say("failed", **{"class": "interrupted", "reason": "stopped by signal 15"})
    os._exit(143)

def nobody():
    while sys.stdin.read(1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)

signal.signal(signal.SIGTERM, stop)
threading.Thread(target=nobody, daemon=True).start()
note("start")
if word == "ok":
    save(*unit["identities"])
    say("progress", fraction=0.5, step=7, error=0.25, power_w=3.0, seconds_left=1.0)
    note("end")
    say("done")
elif word == "slow":
    time.sleep(0.4)
    save(*unit["identities"])
    note("end")
    say("done")
elif word == "kill":
    save(unit["identities"][0])
    os.kill(os.getpid(), signal.SIGKILL)
elif word == "hang":
    say("progress", fraction=0.1, step=1, error=None)
    while True:
        time.sleep(0.05)
elif word == "bug":
    raise RuntimeError("a fault of ours")
elif word == "noise":
    print("not an event")
    print("[1, 2]")
    save(*unit["identities"])
    say("done")
else:
    say("failed", **{"class": word, "reason": f"as told: {word}"})
    sys.exit(1)
"""


def unit(number: int, *do: str, lanes: int = 2, **more: Any) -> Unit:
    key = f"{number:020x}"
    names = tuple(f"{number:x}lane{seed}" for seed in range(lanes))
    tree = {"task": {"name": "pendulum"}, "model": {"name": "mlp"}, "device": "cpu", "do": list(do)}
    # Written by the worker as they are: to import the store takes it longer than all the rest.
    tree["records"] = {
        name: Record(
            name, "pendulum", "mlp", "jax", "cpu", 0, "finished", {}, metrics={"m": 0.5},
            studies={STUDY.name: STUDY.hash},
        ).to_json()
        for name in names
    }  # fmt: skip
    return Unit(key, tree, tuple(Lane(seed) for seed in range(lanes)), names, **more)


def command(folder: Path) -> tuple[str, ...]:
    """The command of the fake worker, written to a folder."""
    path = folder / "worker.py"
    path.write_text(WORKER)
    return sys.executable, "-S", str(path)


def ran(root: Path) -> list[str]:
    """The keys of units in the order in which workers began with them, of the store at `root`."""
    path = root.parent / "ran"
    lines = path.read_text().splitlines() if path.exists() else []
    return [line.split()[1] for line in lines if line.startswith("start")]
