"""From run directories to tables, figures and one page, without torch.

Read records.py (the data), read_runs.py and grouping.py (which runs share a table), statistics.py and table.py (its
rows), columns.py (the columns of the outputs), then the outputs: write.py, latex.py, terminal.py, html.py, figures/ and
build.py, which makes all of them.
"""
