"""`check`: what this machine can run and measure; with device=NAME, what a model's training would take there."""

from __future__ import annotations

import argparse
from typing import Any

from experiments.errors import UserError, nearest

SUMMARY = "what this machine can run and measure; with device=NAME, what a model's training would take there"


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "words", nargs="*", metavar="key=value", help="device=tpu_v5e (see list catalogue), then settings as for run"
    )
    parser.add_argument("--calibrate", action="store_true", help="measure this machine's speed again (10 s)")
    parser.add_argument(
        "--quick", action="store_true", help="nothing that takes seconds: no calibration, no idle power"
    )
    parser.add_argument("--grid", help="electricity grid whose carbon intensity is used, as in --grid FRA")
    parser.add_argument("--pue", type=float, default=1.0, help="power usage effectiveness of the building (default: 1)")
    parser.add_argument("--json", action="store_true")


def main(options: argparse.Namespace) -> int:
    """Without a device of the catalogue, this machine; with one, the price of a model's training there."""
    from experiments.progress import Reporter, log_to_console
    from hardware import catalogue

    devices = [word.removeprefix("device=") for word in options.words if word.startswith("device=")]
    words = [word for word in options.words if not word.startswith("device=")]
    here = ("auto", "cpu", "cuda", "tpu")
    if len(devices) > 1:
        raise UserError(f"check takes one device, but there are {len(devices)}: {', '.join(devices)}")
    if words and not devices:
        raise UserError(
            "on which device? check device=NAME key=value …; python -m experiments list catalogue names them"
        )
    device = devices[0] if devices else "all"
    priced = device != "all" and device.partition(":")[0] not in here
    if priced and device not in catalogue.names():
        raise UserError(f"device={device}: there is no such device{nearest(device, [*here, *catalogue.names()])}")
    if priced and (options.calibrate or options.quick):
        raise UserError("--calibrate and --quick are for this machine: leave device= out")
    if not priced and (options.grid or options.pue != 1):
        raise UserError("--grid and --pue are for a device of the catalogue: name it with device=NAME")
    if options.calibrate and options.quick:
        raise UserError("--calibrate takes 10 seconds and --quick takes none: choose one")
    if not priced and words:
        raise UserError(f"{words[0]}: settings are for a device of the catalogue; this machine has none to set")
    log_to_console()
    report = Reporter(options.json)
    if priced:
        found = _price(device, words, options, report)
    else:
        from experiments.check import check
        from hardware.devices import DeviceError

        try:
            found = check(report, options.calibrate, options.quick, device)
        except DeviceError as error:
            raise UserError(str(error)) from None
    if options.json:
        import json

        print(json.dumps(found.as_json(), indent=1))
    else:
        print("\n".join(found.lines(_width())))
    return 0


def _width() -> int:
    import shutil

    return min(max(shutil.get_terminal_size((110, 24)).columns, 60), 130)


def _price(device: str, words: list[str], options: argparse.Namespace, report: Any) -> Any:
    from experiments.config import load
    from hardware.cost import Cost
    from hardware.projection import ProjectionError, project

    tasks = [word for word in words if "=" not in word]
    settings = load(tasks[0] if tasks else None, [word for word in words if word not in tasks[:1]])
    try:
        project(Cost(), device, grid=options.grid, pue=options.pue)  # mistakes are told before any work is done
        from experiments.check import load_calibration
        from experiments.pricing import price
        from hardware import catalogue
        from hardware.devices import resolve

        known = load_calibration(resolve("auto", "jax"))
        return price(settings, catalogue.load(device), options.grid, options.pue, known, report)
    except (ProjectionError, LookupError) as error:
        raise UserError(str(error.args[0] if error.args else error)) from None
