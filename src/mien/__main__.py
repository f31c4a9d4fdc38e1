"""`python -m mien`."""

from mien.cli.app import main

main()
