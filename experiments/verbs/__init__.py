"""The verbs of the command line, a file each: `SUMMARY`, `add(parser)` and `main(options) -> exit code`.

They are all imported for `--help` and completion: anything heavy is imported inside `main`.
"""
