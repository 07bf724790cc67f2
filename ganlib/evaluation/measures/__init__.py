"""Measures of generated images against real ones, one file each; `catalogue` applies them all."""
