"""The files that are asked for, and what cannot be asked of them: before any work begins."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from footseg.artifact import FORMATS
from footseg.errors import FootsegError, check_known
from footseg.export import onnx_quantize, quantize
from footseg.export.ends import Asked
from footseg.export.precisions import PRECISIONS

TITLES = {"tflite": "TFLite", "onnx": "ONNX", "coreml": "Core ML"}


@dataclass(frozen=True)
class Target:
    """One file to make."""

    format: str
    precision: str
    ends: Asked = quantize.FLOAT

    @property
    def trained(self) -> bool:
        """Whether a training for quantization is of this file."""
        return (self.format, self.precision) == ("tflite", "int8")


def asked_for(
    formats: Sequence[str], precisions: Sequence[str], asked: Asked, say: Callable[[str], None]
) -> list[Target]:
    """The files to make, without doubles, in the order of FORMATS and PRECISIONS.

    A format that is not written in a precision is left out, and said to be, where others are left.

    Raises:
        ValueError: an unknown format or precision, or none.
        FootsegError: no file is left.
    """
    for kind, names, known in (("format", formats, FORMATS), ("precision", precisions, PRECISIONS)):
        if not names:
            raise ValueError(f"no {kind} given: expected some of {', '.join(known)}")
        for name in names:
            check_known(f"unknown {kind}", name, known)
    wanted = [
        Target(format_, p, asked.of(p))
        for format_ in FORMATS
        for p in PRECISIONS
        if format_ in formats and p in precisions
    ]
    targets = [target for target in wanted if target.format in PRECISIONS[target.precision].formats]
    for format_ in FORMATS:
        left_out = [t.precision for t in wanted if t.format == format_ and t not in targets]
        written = ", ".join(name for name, row in PRECISIONS.items() if format_ in row.formats)
        if left_out and not targets:
            raise FootsegError(
                f"{TITLES[format_]} files are written in {written}, not in {' or '.join(left_out)}: "
                "take one of these or --to tflite"
            )
        if left_out:
            say(f"{TITLES[format_]} is written in {written} only: none in {' or '.join(left_out)}")
    return targets


def check_options(
    targets: Sequence[Target], asked: Asked, ranges: str, keep: Collection[str], made_for: str = "any"
) -> None:
    """Refuse options that the files cannot have; ends that only some can have are float32 in the others.

    Raises:
        ValueError: an unknown one, ends that none has, or what a format does not have: integer codes, ranges
            that clip weights, tensors to keep and a file for processors alone are a ``.tflite``'s, other ends
            are not Core ML's.
    """
    precisions = [target.precision for target in targets]
    able = [precision for precision in precisions if asked.of(precision) == asked]
    quantize.check_options((able or precisions)[0], asked, ranges)
    others = [target for target in targets if target.format != "tflite"]
    if given := _foreign([target.format for target in others], asked, made_for):
        title, option = given
        raise ValueError(f"{option} is for other files: export {title} apart, without it")
    if any(target.precision == "int8" for target in others):
        if keep:
            raise ValueError("keep is for .tflite files: export ONNX apart, without it")
        onnx_quantize.check_ranges(ranges)


def _foreign(formats: Collection[str], asked: Asked, made_for: str) -> tuple[str, str] | None:
    """A format that cannot have an option, and the option; None where all can."""
    codes, pixels = asked.input == "int8", asked.input == "uint8"
    rules = (
        ("onnx", codes, f"io {asked.input}"),
        ("coreml", codes or pixels, f"io {asked.input}"),  # it takes an app's image anyway
        ("coreml", asked.output != "logits", f"output {asked.output}"),
        ("onnx", made_for != "any", f"for {made_for}"),
        ("coreml", made_for != "any", f"for {made_for}"),
    )
    return next(((TITLES[name], option) for name, met, option in rules if met and name in formats), None)
