import sys
from pathlib import Path

# The benchmark is a script with modules beside it, and no part of the installed package.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
