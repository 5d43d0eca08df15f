"""Benchmarks of speed and memory, and their results. Read compare.py first, then one theme, such as module.py."""
