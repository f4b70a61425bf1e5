"""``python -m edgefoundad``: the command line."""

from edgefoundad.cli import main

if __name__ == "__main__":
    main()
