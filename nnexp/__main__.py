"""`python -m nnexp` is the command `nnexp`."""

from nnexp.cli.app import main

main()
