"""Entry point of `python -m mdtool`."""

from mdtool.cli import main

main()
