"""The figures of a report, one file per theme: each function takes a table and returns drawings with their captions.

Read style.py, then catalogue.py, which lists the figures in their order and saves them.
"""
