"""MODEL IMAGES.npy OUT.npy: Core ML on all that a Mac has: processor, GPU and Neural Engine."""

import platform
import sys

import coremltools
import numpy as np
from PIL import Image
from shared import write


def main(path, images, out):
    """Run the model on the images and write what comes out."""
    model = coremltools.models.MLModel(path, compute_units=coremltools.ComputeUnit.ALL)
    described = model.get_spec().description
    image, output = described.input[0].name, described.output[0].name
    found = [model.predict({image: Image.fromarray(pixels)})[output][0] for pixels in np.load(images)]
    write(out, np.stack(found).astype(np.float32), version=f"macOS {platform.mac_ver()[0]}")


main(*sys.argv[1:])
