"""Where files can be measured, and what times them on a phone, a row each: nothing heavy is imported here.

The command line takes its choices and its help from these tables.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from footseg.errors import did_you_mean


@dataclass(frozen=True)
class Kind:
    """A kind of place to measure at: its help, and the options that mean something there."""

    help: str
    options: tuple[str, ...]


_TIMED = ("threads", "runs", "seconds", "profile", "pin")
_SCORED = ("data", "split", "images")
_OF_PHONES = ("runner", "benchmark_model", "gpu", "xnnpack", "cool", "energy")
# ``bench`` has the work that is done at each.
KINDS: Mapping[str, Kind] = {
    "host": Kind("host (the default)", _TIMED),
    "arm": Kind("arm[:CORE,...], an emulated processor, instructions counted", _SCORED),
    "android": Kind("android[:SERIAL,... or :all], phones through adb", (*_TIMED, *_SCORED, *_OF_PHONES)),
}
# What times a file on a phone (``android.runners`` has their classes).
RUNNERS: Mapping[str, str] = {"footseg": "footseg's own runner", "benchmark_model": "Google's tool"}


@dataclass(frozen=True)
class Target:
    """Where to measure: ``kind`` of KINDS and the ``names`` of cores or phones, none for the default."""

    kind: str
    names: tuple[str, ...] = ()

    @classmethod
    def of(cls, text: str) -> "Target":
        """The target that "host", "arm:cortex-a53,cortex-a76" or "android:SERIAL" names.

        Raises:
            ValueError: there is no such place.
        """
        kind, _, rest = text.partition(":")
        if kind not in KINDS:
            raise ValueError(f"--on {text}: no such place; {did_you_mean(kind, KINDS)}")
        # A phone on the network is 192.168.0.7:5555: only the first colon divides.
        names = tuple(name.strip() for name in rest.split(",") if name.strip())
        if names and kind == "host":
            raise ValueError(f"--on {text}: host is this machine and takes no name")
        return cls(kind, names)
