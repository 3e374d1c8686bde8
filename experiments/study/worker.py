"""`python -m experiments.study.worker`: one unit of a study, read as JSON from stdin; one JSON event a line on stdout.

Events: {"event": "start" | "progress" | "record" | "failed" | "done", …}. Everything else that is printed goes to
stderr. SIGTERM, and the end of stdin (whoever waited is gone), make it keep what it has in the checkpoint and stop.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import signal
import sys
import threading
from typing import Any

from experiments.study import failures
from experiments.study.failures import Failure

STOPS = (signal.SIGTERM, signal.SIGINT)


def main() -> int:
    """0 when every lane has its record, 1 when not (an event has said why), 143 when it was stopped."""
    faulthandler.enable()  # of a crash in native code, the log shows the line of Python
    emit = _events()
    order = json.loads(sys.stdin.readline())
    threading.Thread(target=_until_nobody_waits, daemon=True).start()
    failure: Failure | None = None
    try:
        from experiments.run import Interrupted  # a second of imports, after the order has been taken
        from experiments.study.work import work

        try:
            _stop_by(Interrupted)
            failure = work(order, emit)
        except Interrupted as stop:
            for number in STOPS:
                signal.signal(number, signal.SIG_IGN)
            emit("failed", **_told(Failure(failures.INTERRUPTED, f"stopped by signal {stop.signal_number}")))
            return 128 + signal.SIGTERM
    except Exception as error:
        failure = failures.of_exception(error)
    if failure is not None:
        emit("failed", **_told(failure))
        return 1
    emit("done")
    return 0


def _told(failure: Failure) -> dict[str, str]:
    return {"class": failure.kind, "reason": failure.reason, "traceback": failure.traceback}


def _events() -> Any:
    """A function that writes one event. What libraries print is sent to stderr, so that it is taken for none."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def emit(event: str, **values: Any) -> None:
        with contextlib.suppress(BrokenPipeError):  # nobody listens: stdin has closed too, and the thread there acts
            print(json.dumps({"event": event, **values}), file=out, flush=True)

    return emit


def _until_nobody_waits() -> None:
    """The other side keeps our stdin open while it is there, however it ends."""
    while sys.stdin.read(4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _stop_by(interrupted: Any) -> None:
    def stop(number: int, frame: Any) -> None:
        for other in STOPS:
            signal.signal(other, signal.SIG_IGN)  # what has been measured is being saved now
        raise interrupted(number)

    for number in STOPS:
        signal.signal(number, stop)


if __name__ == "__main__":
    sys.exit(main())
