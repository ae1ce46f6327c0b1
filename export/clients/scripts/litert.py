"""MODEL IMAGES.npy OUT.npy cpu|gpu: LiteRT's CompiledModel on one accelerator, and nothing else."""

import sys

import ai_edge_litert
import numpy as np
from ai_edge_litert.compiled_model import CompiledModel
from ai_edge_litert.hardware_accelerator import HardwareAccelerator
from ai_edge_litert.interpreter import Interpreter
from shared import fed, real, write


def main(path, images, out, accelerator):
    """Run the model on the images and write what comes out."""
    described = Interpreter(model_path=path)
    (image,), (result,) = described.get_input_details(), described.get_output_details()
    model = CompiledModel.from_file(path, hardware_accel=getattr(HardwareAccelerator, accelerator.upper()))
    ins, outs = model.create_input_buffers(0), model.create_output_buffers(0)
    shape, found = tuple(result["shape"]), []
    for pixels in np.load(images):
        ins[0].write(fed(pixels[None], image))
        model.run_by_index(0, ins, outs)
        found.append(outs[0].read(int(np.prod(shape)), result["dtype"]).reshape(shape)[0])
    write(out, real(np.stack(found), result), version=f"LiteRT {ai_edge_litert.__version__}")


main(*sys.argv[1:])
