"""What a check of a data set finds, as records and as text."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from footseg.grouping import grouped

SHOWN = 10
"""Findings of one kind in a text; the JSON has all."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong ("error": training would stop or its score be false) or odd ("warning")."""

    level: str
    kind: str
    split: str
    file: str
    message: str
    fix: str

    def __str__(self) -> str:
        return f"{self.level}: {self.file}: {self.message}; {self.fix}"


@dataclass(frozen=True)
class CheckReport:
    """All findings, errors first; ``counts`` of images and ``shares`` of labelled pixels by split and class.

    ``ignored`` is the share of all pixels that are ignored (255).
    """

    path: Path
    classes: tuple[str, ...]
    findings: tuple[Finding, ...]
    counts: dict[str, int]
    shares: dict[str, dict[str, float]]
    ignored: dict[str, float]

    @property
    def errors(self) -> tuple[Finding, ...]:
        """What has to be mended."""
        return tuple(finding for finding in self.findings if finding.level == "error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What deserves a look."""
        return tuple(finding for finding in self.findings if finding.level == "warning")

    @property
    def ok(self) -> bool:
        """Whether nothing has to be mended."""
        return not self.errors

    def to_json(self) -> dict[str, Any]:
        """The report as plain values."""
        return {**asdict(self), "path": str(self.path), "ok": self.ok}

    def to_text(self) -> str:
        """The report for a reader: each split in a line, then the findings, of each kind the first few."""
        lines = [f"{self.path}: {len(self.errors)} errors, {len(self.warnings)} warnings"]
        for split, count in self.counts.items():
            shares = ", ".join(f"{name} {share:.1%}" for name, share in self.shares[split].items())
            ignored = f", {self.ignored[split]:.1%} ignored" if self.ignored[split] else ""
            lines.append(f"  {split:5} {count:6} images   {shares}{ignored}")
        for kind, findings in grouped((finding.kind, finding) for finding in self.findings).items():
            lines += [str(finding) for finding in findings[:SHOWN]]
            if len(findings) > SHOWN:
                lines.append(
                    f"  and {len(findings) - SHOWN} more of this kind ({kind}): --json lists them all"
                )
        return "\n".join(lines)
