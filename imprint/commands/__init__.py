"""The subcommands of `imprint`, a file for each kind."""
