"""`python -m ooda`: the command line."""

from ooda.cli.main import entry

if __name__ == "__main__":
    entry()
