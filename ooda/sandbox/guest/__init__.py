"""The helper that runs inside every sandbox: one small program, standard library only.

It starts commands, minds their process trees, keeps their output to head and tail, and does all file
work below the workspace. It speaks frames (`frames.py`) over its standard input and output and is run as
`python3 -I -S -c 'from guest.main import main; main()'` with only this folder bound read-only into the
enclosure, so nothing here may import anything but the standard library and its own siblings, and all of it
must run on Python 3.9. It knows nothing of Docker, bubblewrap or tools.
"""
