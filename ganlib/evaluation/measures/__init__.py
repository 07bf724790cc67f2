"""Measures that compare generated images with real ones, one file each; `catalogue` applies all of them."""
