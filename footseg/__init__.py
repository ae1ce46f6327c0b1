"""Real-time segmentation networks for phones: train, compress, export, measure, ship."""

import os

__version__ = "0.1.0"

# ONNX Runtime 1.31 and newer else keep an identifier of the device, and events with the interpreter's path
# and texts of errors, in the user's cache at every run. Set before anything of ours can import it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
