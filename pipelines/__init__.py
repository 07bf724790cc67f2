"""Pipelines made of the components, and the command line."""
