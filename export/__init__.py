"""From a trained run to shippable files: freeze, convert, quantize, verify."""

from footseg.export.pipeline import FORMATS, PRECISIONS, export_run

__all__ = ["FORMATS", "PRECISIONS", "export_run"]
