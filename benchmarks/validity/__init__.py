"""How often the verdicts are false, and how often they find a true effect: simulations by the tool's own functions.

``python -m benchmarks.validity`` runs them and writes docs/validity.md's table. Read designs.py first: it makes the
ablations that are judged.
"""
