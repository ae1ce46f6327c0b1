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
            answer = segmenter.segment(image)
            mask = answer.category_mask.numpy_view().reshape(pixels.shape[:2])
            # Of one channel its class is 0 for MediaPipe, and what is not is 255.
            one = len(answer.confidence_masks) == 1
            found.append(np.where(mask == 0, np.uint8(1), np.uint8(0)) if one else mask.copy())
        labels = segmenter.labels
    write(out, np.stack(found), version=f"MediaPipe {mediapipe.__version__}", labels=labels)


main(*sys.argv[1:])
