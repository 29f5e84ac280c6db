"""Self-supervised learning on images: methods, augmentation, training, export, embedding.

Knows images, methods and encoders. Knows no HTTP, no SQL and no Celery. Importing this package does not import torch:
`ssl_core.spec`, `ssl_core.presets` and `ssl_core.preflight` stay light, so that a web process can validate jobs quickly.
"""

__version__ = "0.1.0"
