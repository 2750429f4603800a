"""Engines: what carries a run. `local` is asyncio and the journal in one process."""
