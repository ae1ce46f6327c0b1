"""Measurements as pages: one self-contained HTML file each, readable without a network."""
