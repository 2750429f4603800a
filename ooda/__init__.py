"""`ooda`: agents that act on real systems through one governed door.

The package root stays empty on purpose: importing it costs nothing and has no effect. The rooms are
described in docs/explanation/the-house.md and, floor by floor, held by tests/test_floor_plan.py.
"""

__version__ = "0.1.0"
