"""The figures of a report. Matplotlib is imported where one is drawn, in a process of its own."""
