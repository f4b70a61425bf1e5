"""What runs a graph: each backend takes a frame and gives its difference map and score."""
