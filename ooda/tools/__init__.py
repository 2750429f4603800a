"""Tools: what agents can do, declared once, bound to a run, reached through the gate only."""
