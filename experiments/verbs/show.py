"""`show TASK key=value …`: a picture or a film of a task, its invariants over time, its priors at several delta."""

from __future__ import annotations

import argparse

from experiments.errors import UserError

SUMMARY = "draw a task: its motion, its invariants, and what wrong priors make of it"
STILL, MOVING = ("png", "svg"), ("gif", "mp4")


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "words", nargs="*", metavar="TASK key=value", help="a task, then its settings, as in task.system.damping=0"
    )
    parser.add_argument("--out", default="runs/show", help="the folder to write to (default: runs/show)")
    parser.add_argument(
        "--format", choices=(*STILL, *MOVING), default="png", help="a picture (png, svg) or a film (gif, mp4)"
    )
    parser.add_argument("--seconds", type=float, help="length of a film (default: 6)")
    parser.add_argument("--fps", type=int, help="pictures a second of a film (default: 15)")
    parser.add_argument("--quiet", action="store_true", help="no progress lines")


def main(options: argparse.Namespace) -> int:
    from experiments.show.command import show

    if options.format in STILL and (options.seconds is not None or options.fps is not None):
        raise UserError(f"--seconds and --fps are of a film, but --format is {options.format}: choose gif or mp4")
    seconds = 6.0 if options.seconds is None else options.seconds
    fps = 15 if options.fps is None else options.fps
    show(options.words, options.out, options.format, seconds, fps, options.quiet)
    return 0
