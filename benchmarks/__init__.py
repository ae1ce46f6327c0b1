"""Measure artifacts and show the results: what a file costs, how fast it runs, and the page that says so.

Needs neither TensorFlow nor Keras: a file is measured by the runtime that a phone would run it with.
"""
