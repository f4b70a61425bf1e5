"""What `accuracy.py` is made of: cells, data sets, this project's runs, the peers', and tables."""
