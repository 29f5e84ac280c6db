"""What a user types and imports: the `imprint` command, the Python client, the one-machine stack."""
