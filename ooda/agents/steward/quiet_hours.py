"""`python -m ooda.agents.steward.quiet_hours`: the requirement's script, which is `ooda steward quiet-hours`.

Forwards its arguments and nothing else. Importing it does nothing.
"""

__all__: list[str] = []

if __name__ == "__main__":
    import sys

    from ooda.cli.main import main

    sys.exit(main(["steward", "quiet-hours", *sys.argv[1:]]))
