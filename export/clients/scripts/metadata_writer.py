"""MODEL IMAGES.npy OUT.npy: MediaPipe's writer of metadata; what it gives are kinds of operators.

A file without metadata is written again with some; of one with metadata, what it says is read.
"""

import importlib.util
import sys
import types
from importlib.metadata import version
from pathlib import Path

import numpy as np
from shared import write

# The writer alone: what comes before it in MediaPipe's packages imports OpenCV, JAX and others.
(PLACE,) = importlib.util.find_spec("mediapipe").submodule_search_locations
for name in ("mediapipe", "mediapipe.tasks", "mediapipe.tasks.python"):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [str(Path(PLACE, *name.split(".")[1:]))]

from mediapipe.tasks.metadata import schema_py_generated as schema  # noqa: E402
from mediapipe.tasks.python.metadata import metadata  # noqa: E402
from mediapipe.tasks.python.metadata.metadata_writers import image_segmenter, metadata_writer  # noqa: E402


def main(path, images, out):
    """Describe the model, or read its description; write the operators that are in it then."""
    data = bytearray(Path(path).read_bytes())
    if described(data):
        metadata.MetadataDisplayer.with_model_buffer(data).get_metadata_json()
    else:
        labels = metadata_writer.Labels().add(["background", "foot"])
        data, _ = image_segmenter.MetadataWriter.create(data, [0.0], [255.0], labels).populate()
    write(out, np.array(operators(data)), version=f"MediaPipe {version('mediapipe')}")


def described(data):
    """Whether a model has metadata."""
    model = schema.Model.GetRootAsModel(data, 0)
    return b"TFLITE_METADATA" in [model.Metadata(i).Name() for i in range(model.MetadataLength())]


def operators(data):
    """The kinds of operators as this version of the schema names them."""
    model = schema.Model.GetRootAsModel(data, 0)
    names = {number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}
    graph, found = model.Subgraphs(0), []
    for number in range(graph.OperatorsLength()):
        code = model.OperatorCodes(graph.Operators(number).OpcodeIndex())
        found.append(names[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())])
    return found


main(*sys.argv[1:])
