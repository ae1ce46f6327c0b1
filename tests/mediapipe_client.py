"""OUT.npz IMAGES.npy FILE...: what MediaPipe's ImageSegmenter, with no option, makes of files.

Runs in MediaPipe's environment. Of each file: labels, category masks (N, H, W), confidences (N, H, W,
channels) and its metadata as the classes of MediaPipe's schemas read it; or the error.
"""

import json
import pathlib
import sys

import mediapipe
import numpy as np
from mediapipe.tasks.metadata import image_segmenter_metadata_schema_py_generated as segmenter_schema
from mediapipe.tasks.metadata import metadata_schema_py_generated as metadata_schema
from mediapipe.tasks.metadata import schema_py_generated as model_schema
from mediapipe.tasks.python import BaseOptions, vision


def segmented(path, images):
    """Labels, masks and confidences."""
    options = vision.ImageSegmenterOptions(BaseOptions(model_asset_path=path), output_category_mask=True)
    masks, confidences = [], []
    with vision.ImageSegmenter.create_from_options(options) as segmenter:
        for pixels in images:
            found = segmenter.segment(mediapipe.Image(mediapipe.ImageFormat.SRGB, pixels))
            masks.append(found.category_mask.numpy_view().reshape(pixels.shape[:2]).copy())
            planes = [plane.numpy_view().reshape(pixels.shape[:2]) for plane in found.confidence_masks]
            confidences.append(np.stack(planes, -1))
        return segmenter.labels, np.stack(masks), np.stack(confidences)


def described(path):
    """The facts of a file, read by MediaPipe's own classes."""
    model = model_schema.Model.GetRootAsModel(pathlib.Path(path).read_bytes(), 0)
    entries = [model.Metadata(number) for number in range(model.MetadataLength())]
    (entry,) = [entry for entry in entries if entry.Name() == b"TFLITE_METADATA"]
    data = bytes(model.Buffers(entry.Buffer()).DataAsNumpy())
    assert metadata_schema.ModelMetadata.ModelMetadataBufferHasIdentifier(data, 0)
    said = metadata_schema.ModelMetadataT.InitFromObj(
        metadata_schema.ModelMetadata.GetRootAsModelMetadata(data, 0)
    )
    (graph,) = said.subgraphMetadata
    (image,), (output,) = graph.inputTensorMetadata, graph.outputTensorMetadata
    properties, (labels,) = image.content.contentProperties, output.associatedFiles
    custom = [one for one in graph.customMetadata or () if one.name == b"SEGMENTER_METADATA"]
    options = [
        segmenter_schema.ImageSegmenterOptions.GetRootAs(bytes(bytearray(one.data)), 0) for one in custom
    ]
    return {
        "name": said.name.decode(),
        "parser": said.minParserVersion.decode(),
        "input": image.description.decode(),
        "colour": properties.colorSpace,
        "size": [properties.defaultSize.height, properties.defaultSize.width],
        "kinds": [unit.optionsType for unit in image.processUnits or ()],
        "mean": [list(map(float, unit.options.mean)) for unit in image.processUnits or ()],
        "std": [list(map(float, unit.options.std)) for unit in image.processUnits or ()],
        "range": [list(map(float, image.stats.min)), list(map(float, image.stats.max))],
        "output": [output.name.decode(), output.description.decode()],
        "labels": [labels.name.decode(), labels.type],
        "activation": [[one.Activation(), one.MinParserVersion().decode()] for one in options],
    }


def main(out, images, *paths):
    """Write what was found, in the order of the files."""
    arrays, records = {}, []
    for number, path in enumerate(paths):
        record = {"described": described(path)}
        try:
            labels, arrays[f"masks{number}"], arrays[f"confidences{number}"] = segmented(
                path, np.load(images)
            )
            record["labels"] = labels
        except (OSError, RuntimeError, ValueError) as error:  # it calls a missing option a missing file
            record["error"] = str(error)
        records.append(json.dumps(record))
    np.savez(out, records=records, **arrays)


main(*sys.argv[1:])
