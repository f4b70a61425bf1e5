"""A machine made to run stations as services, and made not to: needs Python's own library alone."""
