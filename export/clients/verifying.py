"""Files on clients, one after another: what ``footseg verify`` and ``footseg export`` do."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from footseg import files, provenance
from footseg.artifact import Artifact
from footseg.clients import with_checked
from footseg.export.clients import install, known
from footseg.export.clients.compare import Subject, compare
from footseg.export.clients.known import Client
from footseg.export.clients.subjects import subjects
from footseg.verifications import Shown, Verifications, Verified

# Of an export: enough to see a client that computes something else, in a second or so.
QUICK_IMAGES = 2


@dataclass(frozen=True)
class Found:
    """The record, and of each (file, client) the worst images."""

    record: Verifications
    shown: Mapping[tuple[str, str], tuple[Shown, ...]]


def chosen(paths: Sequence[Path], names: Sequence[str]) -> tuple[Client, ...]:
    """The clients of these names; without names all that are installed, but for those asked ``by_name``.

    Raises:
        ValueError: an unknown name, or a file that none of them reads.
    """
    usual = (one for one in known.CLIENTS if not one.by_name and install.missing(one) is None)
    found = known.named(names) if names else tuple(usual)
    for path in paths:
        if not any(path.suffix in client.suffixes for client in found):
            able = [client.name for client in known.CLIENTS if path.suffix in client.suffixes]
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


def checked(
    artifacts: Sequence[Artifact], data: Path | None = None, say: Callable[[str], None] = lambda line: None
) -> list[Artifact]:
    """Artifacts whose sidecars say, and say on disk, what the quick ones of the clients that are here gave.

    These run each file on ``QUICK_IMAGES`` images of ``data`` (default: of the run's own), and are held
    against the file on this processor, which the export has held against the network. ``say`` gets a line of
    each that is not ok.
    """
    clients = [one for one in known.CLIENTS if one.quick and install.missing(one) is None]
    # What was not verified cannot be run here.
    able = [artifact for artifact in artifacts if artifact.verification]
    paths = [artifact.path for artifact in able]
    found = verify_files(subjects(paths, data=data, images=QUICK_IMAGES, alone=True), clients)
    made = [artifact for artifact in artifacts if not artifact.verification]
    for artifact, verified in zip(able, found.record.files, strict=True):
        for row in verified.rows:
            if not row.ok:
                say(f"{artifact.name} on {row.title}: {row.status}, {row.why}")
        standings = with_checked(artifact.clients, verified.rows)
        made.append(dataclasses.replace(artifact, clients=standings))
        made[-1].save_sidecar()
    return made
