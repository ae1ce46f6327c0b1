"""Shared values in int8 files: ranges worked out by hand, and codes that stay few in a real file."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from footseg import run, runtime
from footseg.export import freeze, quantize, shared, tflite, verify
from footseg.export.shared import _reach, _widest


def test_ranges_by_hand() -> None:
    """Two channels of a kernel with the values 0, 1 and -4; folded by 2 and by -0.5."""
    kernel = np.float32([[[[1, 0, -4]]], [[[1, 1, 0]]]])
    folded = kernel * np.float32([2, -0.5]).reshape(2, 1, 1, 1)
    widest = _widest(folded, kernel)
    assert widest is not None
    # Not 8 and 0.5, their own largest weights: one range of the kernel, which reaches to its 4, in both.
    assert widest.ravel().tolist() == pytest.approx([2 * _reach(kernel), 0.5 * _reach(kernel)])
    codes = np.rint(folded / (widest / 127))
    assert len({abs(code) for code in codes.ravel().tolist()}) == 3
    np.testing.assert_allclose(codes * widest / 127, folded, rtol=1e-3)


def test_the_range_meets_the_values() -> None:
    # 1 and 4 are no multiples of 4/127, but 25 and 100 times 5.08/127; of 256 ranges one is near enough.
    assert 4 <= _reach(np.float32([1, 4])) <= 8
    step = _reach(np.float32([1, 4])) / 127
    assert abs(np.rint(1 / step) * step - 1) < 1e-3 < abs(np.rint(127 / 4) * 4 / 127 - 1)
    assert _reach(np.zeros(3, np.float32)) == 0


def test_a_channel_of_small_values_keeps_its_own_range() -> None:
    kernel = np.float32([[[[100, 100]]], [[[0.3, 0]]]])  # 0.3 is less than half a step of 100/127
    assert _widest(kernel, kernel) == pytest.approx(np.float32([_reach(kernel), 0.3]).reshape(2, 1, 1, 1))


def test_weights_that_were_not_only_scaled_have_no_factor() -> None:
    kernel = np.float32([[[[1, 0, -4]]]])
    assert _widest(kernel + np.float32(0.001), kernel) is None
    assert _widest(kernel[..., :2], kernel) is None
    # A channel of zeros has no factor, and needs no range.
    widest = _widest(np.zeros((1, 1, 1, 3), np.float32), np.zeros((1, 1, 1, 3), np.float32))
    assert widest is not None
    assert widest.item() == 0


def test_a_clustered_network_has_few_codes_in_its_int8_file(compressed_run: Path, tmp_path: Path) -> None:
    done = run.load(compressed_run)
    network = freeze.load_network(done.model)
    fp32, int8 = tmp_path / "fp32.tflite", tmp_path / "int8.tflite"
    fp32.write_bytes(tflite.convert(freeze.freeze(network, tmp_path / "saved_model")))
    images = quantize.calibration(Path(done.data), (64, 64), 16, 0).images
    sample = verify.sample(Path(done.data), (64, 64))
    expected = runtime.load(fp32).logits(sample.images)
    kernels = shared.clustered_kernels(network)
    ranges = shared.weight_ranges(fp32, kernels)
    assert len(ranges) > 20
    packed, errors = [], []
    for used in (ranges, None):
        int8.write_bytes(quantize.quantize(fp32, "int8", images, weight_ranges=used))
        packed.append(len(gzip.compress(int8.read_bytes(), 9, mtime=0)))
        errors.append(verify.compare(expected, runtime.load(int8).logits(sample.images), sample).logit_mean)
        if used:
            interpreter = runtime.interpreter(int8)
            tensors = {t["name"]: t["index"] for t in interpreter.get_tensor_details()}
            codes = [len(np.unique(interpreter.get_tensor(tensors[name]))) for name in used]
            # 16 values, and their mirror images where normalisation has folded in a negative factor.
            assert np.median(codes) <= 2 * 16
    assert packed[0] < packed[1]
    # 1.42 seen: a shared step is coarser than most channels' own. A wrong one would be off by far more.
    assert errors[0] < 2 * errors[1]
