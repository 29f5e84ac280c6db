"""`python -m imprint` is the `imprint` command."""

from imprint.cli import main

main()
