"""What the scripts of all clients share; nothing but numpy, for each runs in an environment of its own."""

import json

import numpy as np


def fed(pixels, tensor):
    """uint8 pixels (1, H, W, 3) as an input of LiteRT or TensorFlow Lite takes them."""
    kind = np.dtype(tensor["dtype"])
    if kind == np.float32:
        return pixels.astype(np.float32) / np.float32(255)
    scale, zero = tensor["quantization"]
    limits = np.iinfo(kind)
    values = np.rint(pixels.astype(np.float32) / np.float32(255) / scale) + zero
    return np.clip(values, limits.min, limits.max).astype(kind)


def real(values, tensor):
    """What an output's values stand for: as they are, or by scale and zero point."""
    scale, zero = tensor.get("quantization", (0.0, 0))
    if values.dtype == np.float32 or not scale:
        return values
    return (values.astype(np.float32) - zero) * np.float32(scale)


def write(out, values, **facts):
    """Outputs (N, ...) as .npy, and what is to be known of the client as the last line of standard output."""
    np.save(out, values)
    print(json.dumps(facts), flush=True)
