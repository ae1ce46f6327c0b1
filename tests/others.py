"""Keras networks as other people build them: each a function of nothing, 64x64 unless it says else."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers, ops

SIZE = 64
LARGE = 1e8
BUILDERS: dict[str, Callable[[], Any]] = {}


def network(build: Callable[[], Any]) -> Callable[[], Any]:
    """Put a builder into the list, by its name."""
    BUILDERS[build.__name__] = build
    return build


def build(name: str) -> Any:
    """The network of this name, its weights the same each time."""
    keras.utils.set_random_seed(0)
    return BUILDERS[name]()


def image(channels: int = 3, **settings: Any) -> Any:
    return keras.Input((SIZE, SIZE, channels), **settings)


def body(x: Any, width: int = 8) -> Any:
    """Half the size and back."""
    x = layers.Conv2D(width, 3, strides=2, padding="same", use_bias=False, name="down")(x)
    x = layers.Activation("relu")(layers.BatchNormalization(name="norm")(x))
    return layers.Conv2DTranspose(width, 2, strides=2, name="up")(x)


def head(x: Any, activation: Any = None, channels: int = 2) -> Any:
    return layers.Conv2D(channels, 1, activation=activation, name="head")(x)


def after(first: Callable[[Any], Any], **settings: Any) -> Any:
    """A network that does something to the image first."""
    return keras.Model(given := image(**settings), head(body(first(given))))


def before(last: Callable[[Any], Any]) -> Any:
    """A network that does something to the features last."""
    return keras.Model(given := image(), last(body(given)))


# ---- what comes out


@network
def logits_of_two_classes() -> Any:
    return before(head)


@network
def softmax_in_the_convolution() -> Any:
    return before(lambda x: head(x, "softmax"))


@network
def softmax_layer() -> Any:
    return before(lambda x: layers.Softmax()(head(x)))


@network
def softmax_operation_of_three_classes() -> Any:
    return before(lambda x: ops.softmax(head(x, channels=3)))


@network
def softmax_then_upsampling() -> Any:
    return before(
        lambda x: layers.UpSampling2D(2, interpolation="bilinear")(
            layers.Softmax()(head(layers.AveragePooling2D(2)(x)))
        )
    )


@network
def softmax_of_a_separable_convolution() -> Any:
    return before(layers.SeparableConv2D(2, 3, padding="same", activation="softmax"))


@network
def sigmoid_of_one_channel() -> Any:
    return before(lambda x: head(x, "sigmoid", 1))


@network
def sigmoid_layer_of_one_channel() -> Any:
    return before(lambda x: layers.Activation("sigmoid")(head(x, None, 1)))


@network
def sigmoid_then_upsampling() -> Any:
    return before(
        lambda x: layers.UpSampling2D(2, interpolation="bilinear")(
            head(layers.AveragePooling2D(2)(x), "sigmoid", 1)
        )
    )


@network
def sigmoids_of_three_channels() -> Any:
    return before(lambda x: head(x, "sigmoid", 3))


@network
def one_channel_without_a_sigmoid() -> Any:
    return before(lambda x: head(x, None, 1))


@network
def classes_by_argmax() -> Any:
    return before(lambda x: ops.argmax(head(x), axis=-1))


@network
def maps_of_half_the_size() -> Any:
    return before(lambda x: head(layers.AveragePooling2D(2)(x)))


@network
def a_dict_of_one_output() -> Any:
    return before(lambda x: {"mask": head(x)})


@network
def a_list_of_one_output() -> Any:
    return before(lambda x: [head(x)])


@network
def two_outputs() -> Any:
    return before(lambda x: {"mask": head(x), "edges": layers.Conv2D(1, 1)(x)})


# ---- what goes in


@network
def rescaling_by_255() -> Any:
    return after(layers.Rescaling(1 / 255))


@network
def rescaling_to_plus_minus_one() -> Any:
    return after(layers.Rescaling(1 / 127.5, offset=-1))


@network
def rescaling_of_unit_pixels() -> Any:
    return after(layers.Rescaling(2, offset=-1))


@network
def pixels_divided_by_255() -> Any:
    return after(lambda x: x / 255.0)


@network
def pixels_minus_mean_over_deviation() -> Any:
    return after(lambda x: (x - 127.5) / 127.5)


@network
def normalization_of_known_mean() -> Any:
    return after(layers.Normalization(mean=[120.0, 110, 100], variance=[3000.0, 3100, 3200]))


@network
def normalization_that_was_adapted() -> Any:
    layer = layers.Normalization()
    layer.adapt(np.random.default_rng(0).random((4, SIZE, SIZE, 3)).astype("float32") * 255)
    return after(layer)


@network
def caffe_preprocessing_inside() -> Any:
    return after(keras.applications.resnet50.preprocess_input)


@network
def uint8_pixels() -> Any:
    return after(layers.Rescaling(1 / 255), dtype="uint8")


@network
def int32_pixels() -> Any:
    return after(layers.Rescaling(1 / 255), dtype="int32")


@network
def float16_pixels() -> Any:
    return after(lambda x: x, dtype="float16")


@network
def a_dict_of_one_input() -> Any:
    return keras.Model({"photo": (given := image(name="photo"))}, head(body(given)))


@network
def grey_images() -> Any:
    return after(lambda x: x, channels=1)


@network
def batches_of_four() -> Any:
    given = keras.Input(batch_shape=(4, SIZE, SIZE, 3))
    return keras.Model(given, head(body(given)))


@network
def images_of_any_size() -> Any:
    return keras.Model(given := keras.Input((None, None, 3)), head(body(given)))


# ---- how it is built


@network
def a_sequential_model() -> Any:
    return keras.Sequential(
        [image(), layers.Conv2D(8, 3, padding="same", activation="relu"), layers.Conv2D(2, 1)]
    )


@network
def a_model_inside() -> Any:
    inside = keras.Model(given := image(), body(given), name="backbone")
    return keras.Model(outer := image(), head(inside(outer, training=False)))


@network
def a_model_inside_called_twice() -> Any:
    given = image(8)
    inside = keras.Model(given, layers.Conv2D(8, 3, padding="same", activation="relu", name="conv")(given))
    x = layers.Conv2D(8, 3, padding="same", name="conv")(outer := image())
    return keras.Model(outer, head(inside(inside(x))))


@network
def a_layer_called_twice() -> Any:
    shared = layers.Conv2D(8, 3, padding="same", activation="relu")
    x = layers.Conv2D(8, 1)(given := image())
    return keras.Model(given, head(shared(shared(x))))


@network
def a_transposed_convolution_called_twice() -> Any:
    shared = layers.Conv2DTranspose(8, 2, strides=2)
    return keras.Model(given := image(), head(shared(shared(layers.Conv2D(8, 4, strides=4)(given)))))


@network
def a_layer_as_activation() -> Any:
    x = layers.Conv2D(8, 3, padding="same", activation=layers.ReLU(max_value=6.0))(given := image())
    return keras.Model(given, head(x))


@network
def a_leaky_layer_as_activation() -> Any:
    x = layers.Conv2D(8, 3, padding="same", activation=layers.LeakyReLU(0.1))(given := image())
    return keras.Model(given, head(x))


@network
def attention_of_several_heads() -> Any:
    x = layers.Reshape((64, 8))(layers.Conv2D(8, 8, strides=8)(given := image()))
    x = layers.Reshape((8, 8, 8))(layers.MultiHeadAttention(2, 4)(x, x))
    return keras.Model(given, head(layers.UpSampling2D(8)(x)))


@network
def mixed_float16() -> Any:
    x = layers.Conv2D(8, 3, padding="same", dtype="mixed_float16")(given := image())
    x = layers.BatchNormalization(dtype="mixed_float16")(x)
    return keras.Model(given, layers.Conv2D(2, 1, dtype="mixed_float16")(x))


@network
def mixed_float16_inside() -> Any:
    given = image()
    inside = keras.Model(given, layers.Conv2D(8, 3, padding="same", dtype="mixed_float16")(given))
    return keras.Model(outer := image(), layers.Conv2D(2, 1, dtype="float32")(inside(outer)))


@network
def cropping() -> Any:
    x = layers.Conv2D(8, 3, padding="same")(layers.ZeroPadding2D(2)(given := image()))
    return keras.Model(given, head(layers.Cropping2D(2)(x)))


@network
def a_slice_of_channels() -> Any:
    return keras.Model(given := image(), head(layers.Conv2D(8, 3, padding="same")(given)[..., :4]))


@network
def convolutions_in_groups() -> Any:
    return before(lambda x: head(layers.Conv2D(8, 3, padding="same", groups=4)(x)))


@network
def dropout_and_random_flips() -> Any:
    return keras.Model(given := image(), head(layers.Dropout(0.3)(body(layers.RandomFlip()(given)))))


@network
def mobilenet_v2_inside() -> Any:
    inside = keras.applications.MobileNetV2(
        include_top=False, weights=None, input_shape=(SIZE, SIZE, 3), alpha=0.35
    )
    x = inside(keras.applications.mobilenet_v2.preprocess_input(given := image()), training=False)
    # Weights that nobody trained leave next to nothing of an image: as large as this, half a unit.
    large = keras.initializers.RandomNormal(stddev=LARGE)
    last = layers.Conv2DTranspose(1, 32, strides=32, activation="sigmoid", kernel_initializer=large)
    return keras.Model(given, last(x))


class _Own(keras.Model):
    """A model whose layers Keras keeps no graph of."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = layers.Conv2D(2, 3, padding="same")

    def call(self, inputs: Any) -> Any:
        """Logits."""
        return self.conv(inputs)


@network
def a_class_of_its_own() -> Any:
    model = _Own()
    model(np.zeros((1, SIZE, SIZE, 3), "float32"))
    return model
