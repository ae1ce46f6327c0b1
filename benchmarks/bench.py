"""``footseg bench``: one list of files, measured wherever it was asked for, each line saved as it comes."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from footseg import artifact, strangers
from footseg.benchmarks import cost
from footseg.benchmarks.measurement import Measurement
from footseg.benchmarks.results_file import append_line, check_writable
from footseg.benchmarks.targets import KINDS, Target
from footseg.errors import FootsegError

# What switches a default off has another name than what it sets.
FLAGS: Mapping[str, str] = {name: f"--no-{name}" for name in ("xnnpack", "cool", "energy")}


@dataclass(frozen=True)
class Found:
    """What was measured, and what was not and why."""

    measured: tuple[Measurement, ...]
    failures: tuple[str, ...] = ()


def bench(
    paths: Sequence[Path],
    targets: Sequence[str] = ("host",),
    *,
    out: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
    **options: Any,
) -> Found:
    """Measure ``paths`` at each of ``targets``; lines are appended to ``out`` as soon as they are complete.

    Args:
        paths: .tflite or .onnx files.
        targets: as ``Target.of`` reads them.
        out: results.jsonl.
        say: told of progress and of each failure.
        options: of ``KINDS``, given to each target that has them.

    Raises:
        FootsegError: a file is missing or is no model, ``out`` cannot be written, or nothing could be
            measured anywhere.
        ValueError: an unknown target, or an option that means nothing at one of them.
    """
    places = [Target.of(text) for text in targets]
    _check(places, options)
    for path in paths:  # before anything is measured: a typing error or a damaged file costs no minutes
        artifact.load(path)
        cost.of_file(path)
        strangers.check(path)
        if out is not None and out.resolve() == path.resolve():
            raise ValueError(f"--out {out} is a file to be measured: give results a name of their own")
    if out is not None:
        check_writable(out)
    measured: list[Measurement] = []
    failures: list[FootsegError] = []
    unsaved: FootsegError | None = None
    for place in places:
        try:
            for measurement in _measure(place, paths, say, options):
                measured.append(measurement)
                if out is not None and unsaved is None:
                    unsaved = _unsaved(out, measurement, say)
        except KeyboardInterrupt:
            if measured and out is not None and unsaved is None:
                so_far = "1 result so far is" if len(measured) == 1 else f"{len(measured)} results so far are"
                say(f"footseg: {so_far} in {out}")
            raise
        except FootsegError as error:
            # One place that fails does not lose what others gave, or will.
            failures.append(error)
            if measured or len(places) > 1:
                say(f"footseg: {error}")
    if not measured:
        raise failures[-1]
    return Found(tuple(measured), tuple(map(str, filter(None, (unsaved, *failures)))))


def _unsaved(out: Path, measurement: Measurement, say: Callable[[str], None]) -> FootsegError | None:
    """Append a line; why that failed, if it did: what was measured is printed all the same."""
    try:
        append_line(out, measurement)
    except FootsegError as error:
        say(f"footseg: {error}")
        return error
    return None


def _check(places: Sequence[Target], options: Collection[str]) -> None:
    """A flag that nothing would read is a mistake."""
    if "split" in options and "data" not in options:
        raise ValueError("--split means nothing without --data DIR, the data set that is split")
    kinds = {place.kind for place in places}
    for name in sorted(options):
        known = [kind for kind, row in KINDS.items() if name in row.options]
        if not kinds & set(known):
            flag = FLAGS.get(name, "--" + name.replace("_", "-"))
            raise ValueError(
                f"{flag} means nothing on {' and '.join(sorted(kinds))}, only on {' and '.join(known)}"
            )


def _measure(
    place: Target, paths: Sequence[Path], say: Callable[[str], None], options: Mapping[str, Any]
) -> Iterable[Measurement]:
    own = {name: value for name, value in options.items() if name in KINDS[place.kind].options}
    match place.kind:
        case "arm":
            from footseg.benchmarks import arm

            return arm.measure_all(paths, place.names or (arm.CORE,), **own)
        case "android":
            from footseg.benchmarks import android

            return android.measure_all(paths, place.names, say=say, **own)
    from footseg.benchmarks import host

    return host.measure_all(paths, **own)
