"""MODEL IMAGES.npy OUT.npy: MediaPipe's ImageSegmenter with no option; what it gives are masks."""

import sys

import mediapipe
import numpy as np
from mediapipe.tasks.python import BaseOptions, vision
from shared import write


def main(path, images, out):
    """Run the model on the images and write what comes out."""
    options = vision.ImageSegmenterOptions(BaseOptions(model_asset_path=path), output_category_mask=True)
    found = []
    with vision.ImageSegmenter.create_from_options(options) as segmenter:
        for pixels in np.load(images):
            image = mediapipe.Image(
                image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(pixels)
            )
            mask = segmenter.segment(image).category_mask.numpy_view()
            found.append(mask.reshape(pixels.shape[:2]).copy())
        labels = segmenter.labels
    write(out, np.stack(found), version=f"MediaPipe {mediapipe.__version__}", labels=labels)


main(*sys.argv[1:])
