"""From a trained run to shippable files: freeze, convert, quantize, verify."""
