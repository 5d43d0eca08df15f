"""task=NAME is the file of that name: the parent's side, and ``work``, the child's side.

Read train.py and plan.py first; the others take a finished run (finished_run.py). comparison.py belongs to repeat.py.
"""
