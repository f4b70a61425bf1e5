"""GStreamer through its C library: no binding is needed, and any venv will do."""
