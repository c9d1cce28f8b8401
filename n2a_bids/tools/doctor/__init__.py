"""Examination of installation and machine, to be pasted into a report of a problem."""
