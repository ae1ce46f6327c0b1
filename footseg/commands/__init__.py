"""The commands, one module for each part of the path. ``footseg.cli`` puts them into a tree."""
