"""Files on clients, one after another: what ``footseg verify`` and ``footseg export`` do."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from footseg import files, provenance
from footseg.export.clients import install
from footseg.export.clients.compare import Subject, compare
from footseg.export.clients.known import CLIENTS, Client, named
from footseg.verifications import Shown, Verifications, Verified


@dataclass(frozen=True)
class Found:
    """The record, and of each (file, client) the worst images."""

    record: Verifications
    shown: Mapping[tuple[str, str], tuple[Shown, ...]]


def chosen(paths: Sequence[Path], names: Sequence[str]) -> tuple[Client, ...]:
    """The clients of these names; without names all that are installed.

    Raises:
        ValueError: an unknown name, or a file that none of them reads.
    """
    found = named(names) if names else tuple(client for client in CLIENTS if not install.missing(client))
    for path in paths:
        if not any(path.suffix in client.suffixes for client in found):
            able = [client.name for client in CLIENTS if path.suffix in client.suffixes]
            raise ValueError(f"none of these clients reads {path.name}: give --on {' or '.join(able)}")
    return found


def verify_files(
    subjects: Iterable[Subject], clients: Sequence[Client], say: Callable[[str], None] = lambda line: None
) -> Found:
    """Run each file on each client that reads it; ``say`` gets a line of each."""
    verified, shown = [], {}
    for subject in subjects:
        rows = []
        for found in compare(subject, clients, say):
            rows.append(found.row)
            shown[subject.path.name, found.row.client] = found.shown
        verified.append(
            Verified(
                file=subject.path.name,
                sha256=files.sha256(subject.path),
                recipe=subject.recipe,
                reference=subject.reference,
                data=subject.data,
                split=subject.sample.split,
                images=len(subject.sample.names),
                rows=tuple(rows),
            )
        )
    record = Verifications(tuple(verified), provenance.machine(), provenance.versions(), provenance.now())
    return Found(record, shown)
