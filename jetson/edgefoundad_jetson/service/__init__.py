"""One station as a service: told by a file, watched by the service manager."""
