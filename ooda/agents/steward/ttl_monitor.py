"""`python -m ooda.agents.steward.ttl_monitor`: the requirement's script, which is `ooda steward ttl`.

Forwards its arguments and nothing else. Importing it does nothing.
"""

__all__: list[str] = []

if __name__ == "__main__":
    import sys

    from ooda.cli.main import main

    sys.exit(main(["steward", "ttl", *sys.argv[1:]]))
