"""Before a run: from overrides to a checked plan.

Read compose.py (overrides to cells), arm.py and check.py (what an arm does, what is refused), run_key.py (which runs
are equal), planning.py (the plan), preflight_child.py (the last check, in a child process); then progress.py and
live_view.py (the screen during a sweep).
"""
