"""MODEL IMAGES.npy OUT.npy: OpenVINO on the processor, in float32."""

import sys

import numpy as np
from shared import write


def main(path, images, out):
    """Run the model on the images and write what comes out."""
    # It tells Google Analytics that it was imported, unless this package is absent; None is that to Python.
    sys.modules["openvino_telemetry"] = None
    import openvino

    core = openvino.Core()
    # Else it computes in bfloat16 where the processor can: another question than whether it reads the file.
    compiled = core.compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    kind = compiled.input(0).get_element_type().to_dtype()
    found = []
    for pixels in np.load(images):
        image = pixels[None]
        image = image.astype(kind) / kind.type(255) if kind.kind == "f" else image.astype(kind)
        found.append(np.array(compiled(image)[compiled.output(0)])[0])
    write(out, np.stack(found), version=f"OpenVINO {openvino.__version__.split('-')[0]}")


main(*sys.argv[1:])
