"""FastAPI: routes parse, call, return. Knows HTTP; nothing else in the house does."""
