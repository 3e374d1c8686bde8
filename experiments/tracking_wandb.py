"""The W&B calls behind `tracking.py`; used in the tracking thread only, except `abandon`.

W&B is started so that it keeps to itself: no output, nothing read from or written to the working directory or the
user's home, no host name, code, git state, environment or system statistics in the log, and offline no network at all.
"""

from __future__ import annotations

import logging
import os
import secrets
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

# Which of our two axes a metric is drawn against: error against compute, the rest against the step.
AXES = {"val/*": "flop", "train/*": "step", "energy_j": "step", "train_s": "step"}


class Backend:
    """W&B's helper process and the runs open in it."""

    def __init__(self, mode: str, directory: Path, project: str, timeout_s: float) -> None:
        self.mode = mode  # "offline" or "online"
        self._directory = directory.absolute()
        self._project = project
        self._timeout_s = timeout_s
        self._open: list[Any] = []
        self._logs: list[Path] = []  # one directory per run
        self.complete = True
        self._init_limit_s = timeout_s
        self._wandb: Any = None

    def connect(self) -> None:
        """Import W&B, start its helper process and, for online, see whether the server can be had."""
        self._directory.mkdir(parents=True, exist_ok=True)
        # W&B would go on in a temporary directory, where nobody finds the log.
        if not os.access(self._directory, os.W_OK):
            raise PermissionError(f"cannot write to {self._directory}")
        self._set_environment()
        hooks = sys.exit, sys.excepthook
        import wandb

        self._wandb = wandb
        try:
            settings = wandb.setup(self._settings()).settings
        finally:
            # W&B replaces both to learn the exit code; we tell it, and how the program ends is the program's business.
            sys.exit, sys.excepthook = hooks
        # Left in place, a child process would try to share our helper process.
        os.environ.pop("WANDB_SERVICE", None)
        if self.mode == "online":
            started = time.monotonic()
            reason = self._why_not_online(settings)
            if reason:
                self._fall_back(reason)
            # The probe and the first run share the limit.
            self._init_limit_s = max(1.0, self._timeout_s - (time.monotonic() - started))

    def open_run(self, *, name: str, group: str, job_type: str, config: dict[str, Any], tags: list[str]) -> Any:
        """Start a run and tell W&B our axes."""
        what = {
            "project": self._project,
            "name": name,
            "group": group,
            "job_type": job_type,
            "config": config,
            "tags": tags,
            "dir": str(self._directory),
            "reinit": "create_new",  # several runs are open at once
        }
        try:
            run = self._init(what)
        except Exception as error:
            if self.mode == "offline":
                raise
            self._fall_back(f"the server refused the run ({type(error).__name__}: {error})")
            run = self._init(what)
        self._init_limit_s = self._timeout_s
        self._open.append(run)
        self._logs.append(Path(run.settings.sync_dir))
        for axis in ("step", "flop"):
            run.define_metric(axis)
        for metric, axis in AXES.items():
            run.define_metric(metric, step_metric=axis)
        return run

    def log(self, run: Any, values: dict[str, Any]) -> None:
        run.log(values)

    def table(self, run: Any, name: str, columns: list[str], rows: list[list[Any]]) -> None:
        # Mixed types: a cell that is not known is empty, whatever the column holds.
        run.log({name: self._wandb.Table(columns=columns, data=rows, allow_mixed_types=True)})

    def image(self, run: Any, name: str, path: Path) -> None:
        run.log({name: self._wandb.Image(str(path))})

    def summary(self, run: Any, values: dict[str, Any]) -> None:
        run.summary.update(values)

    def finish(self, run: Any, status: str) -> None:
        """End a run; what could not be sent in time stays in its log on disk."""
        if run not in self._open:
            return
        self._open.remove(run)
        run.summary["status"] = status
        try:
            run.finish(exit_code=0 if status == "finished" else 1)
        except TimeoutError:
            self.complete = False

    def close(self) -> None:
        """End what is still open as failed, stop the helper process, say where the log is."""
        if self._wandb is None:
            return
        for run in list(self._open):
            self.finish(run, "failed")
        self._wandb.teardown()
        if not self._logs:
            return
        if not self.complete:
            log.warning("W&B: not everything was sent or logged; to send what is there: wandb sync %s", self._where())
        elif self.mode == "online":
            log.info("W&B: sent; a copy lies in %s", self._where())
        else:
            log.info("W&B: offline log written; to send it: wandb sync %s", self._where())

    def abandon(self) -> None:
        """Kill the helper process, so that W&B's exit hook does not wait for it. Called from the closing thread.

        Our own thread hangs in W&B and may hold its locks, so this looks at modules and fields and calls nothing.
        The log is flushed every second: it keeps all but the last moment.
        """
        setup: Any = sys.modules.get("wandb.sdk.wandb_setup")
        connection = getattr(getattr(setup, "_singleton", None), "_connection", None)
        if connection is None:
            return
        setup._singleton = None  # a later tracker starts afresh
        with suppress(Exception):  # private names, which another version of W&B may lack
            connection._cleanup()
            process = connection._proc._process
            process.kill()
            process.wait(0.1)

    def _where(self) -> str:
        """The logs of this tracker, as a shell takes them."""
        return str(self._logs[0]) if len(self._logs) == 1 else f"{self._logs[0].parent}/*run-*"

    def _init(self, what: dict[str, Any]) -> Any:
        # An id of our own: with W&B's variable for it set, all runs would share one.
        return self._wandb.init(id=secrets.token_hex(4), settings=self._settings(), **what)

    def _settings(self) -> Any:
        return self._wandb.Settings(
            mode=self.mode,
            silent=True,
            console="off",
            disable_code=True,
            disable_git=True,
            disable_job_creation=True,
            save_code=False,
            host="",
            username="",
            program="",
            sagemaker_disable=True,
            symlink=False,  # "latest-run" would be fought over by runs that are open at once
            use_dot_wandb=False,
            init_timeout=self._init_limit_s if self.mode == "online" else 60.0,
            finish_timeout=self._timeout_s if self.mode == "online" else 0.0,
            finish_timeout_raises=True,
            x_disable_meta=True,
            x_disable_machine_info=True,
            x_disable_stats=True,
            x_save_requirements=False,
            x_transaction_log_flush_interval=1.0,  # seconds; a killed run keeps its log
        )

    def _set_environment(self) -> None:
        """What W&B takes from the environment only. Its helper process inherits this."""
        mine = {
            "WANDB_SILENT": "true",
            "WANDB_ERROR_REPORTING": "false",  # else it sends telemetry, offline too
            # Staged files belong to the log that `wandb sync` sends later; both default to the user's home.
            "WANDB_DATA_DIR": str(self._directory / "wandb" / "data"),
            "WANDB_CACHE_DIR": str(self._directory / "wandb" / "cache"),
        }
        os.environ.update(mine)
        for name in ("WANDB_SERVICE", "WANDB_RESUME", "WANDB_RUN_ID"):
            os.environ.pop(name, None)

    def _fall_back(self, reason: str) -> None:
        log.warning("W&B: logging offline, because %s", " ".join(reason.split())[:300])
        self.mode = "offline"

    def _why_not_online(self, settings: Any) -> str | None:
        from requests.utils import get_netrc_auth

        if not (settings.api_key or settings.identity_token_file or get_netrc_auth(settings.base_url)):
            return "there is no API key (set WANDB_API_KEY or run `wandb login`)"
        return why_unreachable(settings.base_url, self._timeout_s / 2)


def why_unreachable(url: str, timeout_s: float) -> str | None:
    """None if an HTTP server answers at `url` within `timeout_s` (any answer below 500), else what happened."""
    answer: list[str | None] = []

    def ask() -> None:
        try:
            with urllib.request.urlopen(url, timeout=timeout_s):
                answer.append(None)
        except urllib.error.HTTPError as error:
            answer.append(None if error.code < 500 else f"{url} answers with status {error.code}")
        except Exception as error:
            reason = getattr(error, "reason", None) or error
            answer.append(silent() if isinstance(reason, TimeoutError) else f"{url} cannot be reached ({reason})")

    def silent() -> str:
        return f"{url} did not answer within {time.monotonic() - started:.0f} s"

    # The thread is for the limit: name resolution has none of its own, and a socket's is per packet.
    started = time.monotonic()
    thread = threading.Thread(target=ask, name="tracking-probe", daemon=True)
    thread.start()
    thread.join(timeout_s)
    return answer[0] if answer else silent()
