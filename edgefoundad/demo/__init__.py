"""Rendered machined parts on a conveyor, with exact defect masks, for the demo and the tests."""
