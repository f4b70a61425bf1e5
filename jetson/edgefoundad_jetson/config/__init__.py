"""A station's one file: read, checked, written."""
