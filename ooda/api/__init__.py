"""The composition root: builds runs from tasks and settings, and carries them. The Python API behind every face."""
