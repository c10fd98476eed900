"""`python -m mdtool`."""

from mdtool.cli import main

main()
