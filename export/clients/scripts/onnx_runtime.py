"""MODEL IMAGES.npy OUT.npy: ONNX Runtime on the processor."""

import sys

import numpy as np
import onnxruntime
from shared import write


def main(path, images, out):
    """Run the model on the images and write what comes out."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (image,) = session.get_inputs()
    found = []
    for pixels in np.load(images):
        fed = (
            pixels[None]
            if image.type == "tensor(uint8)"
            else pixels[None].astype(np.float32) / np.float32(255)
        )
        if image.type == "tensor(float16)":
            fed = fed.astype(np.float16)
        found.append(session.run(None, {image.name: fed})[0][0])
    write(out, np.stack(found), version=f"ONNX Runtime {onnxruntime.__version__}")


main(*sys.argv[1:])
