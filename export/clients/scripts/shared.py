"""What the scripts of all clients share; nothing but numpy, for each runs in an environment of its own."""

import json
import os
import signal
import sys
import threading

import numpy as np


def end_with_input():
    """End this process, and a browser that it started, when standard input does: whoever asked is gone."""
    # Unbuffered: Python aborts at its end where a thread waits in a buffered read.
    while os.read(0, 1):
        pass
    os.killpg(0, signal.SIGKILL)


# Only for who made this process the head of a group, as footseg does.
if os.getpid() == os.getpgrp() and not sys.stdin.isatty():
    threading.Thread(target=end_with_input, daemon=True).start()


def fed(pixels, tensor):
    """uint8 pixels (1, H, W, 3) as an input of LiteRT or TensorFlow Lite takes them."""
    kind = np.dtype(tensor["dtype"])
    if kind == np.float32:
        return pixels.astype(np.float32) / np.float32(255)
    scale, zero = tensor["quantization"]
    if not scale:
        return pixels.astype(kind)
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
