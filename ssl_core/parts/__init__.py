"""Shared building blocks of the methods: heads, branches, moving average, queue, losses on pairs."""
