"""Celery: one task supervises one training process, from claim to encoder."""
