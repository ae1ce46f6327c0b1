"""Real-time segmentation networks for phones: train, compress, export, measure, ship."""

__version__ = "0.1.0"
