"""One run: its directory, its supervision, its training.

Read directory.py (files and states), supervise.py (attempts, in child processes), training.py (the child's side), then
devices.py and provenance.py. torch is imported inside functions that run in the child.
"""
