"""Alembic: one file in versions/ per change of the schema."""
