"""Notices on their way out: routes, texts for each channel, the channels themselves, and the deliverer.

Knows the store's messages and the door; must not know agents, runs or settings files.
"""
