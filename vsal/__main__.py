"""`python -m vsal`: the command line, where the `vsal` program is not on PATH."""

from vsal.cli import main

main()
