"""Augmentation: batched, on the device, and without a random state to carry along."""

from ssl_core.augment.views import make_view, make_views, normalise

__all__ = ["make_view", "make_views", "normalise"]
