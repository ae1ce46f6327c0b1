"""EmilSeg: a stand-in for the thesis's teacher.

A. Demborg, Real-time segmentation of feet on smartphone, KTH 2018, names its teacher EmilSeg, gives its size
(85 MB) and FLOPs (55.37 G by TensorFlow's rule), and no architecture. This is the textbook network nearest to
both that has a round width: U-Net (see ``unet``) of 48 base channels with batch normalisation. Nothing
measured of it is a statement on the thesis's own.
"""

import keras

from footseg.networks.unet import ENCODER, STAGES, assemble

__all__ = ["ENCODER", "REFERENCE", "STAGES", "emilseg"]

# At 256x256 and two classes.
REFERENCE = {
    "title": "EmilSeg (stand-in)",
    "paper": "Demborg 2018, Real-time segmentation of feet on smartphone: unspecified; here U-Net of 48",
    "paper_figures": {"size_mb": 85, "flops_tf_benchmark": 55.37e9, "latency_ms": 4439},
    "parameters": 17_474_690,
    "trainable_parameters": 17_465_858,
    "flops_tf_benchmark": 51.8e9,
}


def emilseg(
    input_shape: tuple[int, int, int] = (256, 256, 3),
    classes: int = 2,
    *,
    base: int = 48,
    dropout: float = 0.0,
) -> keras.Model:
    """Build the stand-in: (N, H, W, 3) in [0, 1] -> logits (N, H, W, classes).

    Args:
        input_shape: H and W multiples of 16.
        classes: number of classes, background included.
        base: channels of the first level.
        dropout: rate of the spatial dropout before the classifier.

    Raises:
        ValueError: as ``unet``.
    """
    return assemble("emilseg", input_shape, classes, base=base, dropout=dropout)
