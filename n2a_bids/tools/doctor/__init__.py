"""``n2a-tools doctor``: examines installation and machine, for a report of a problem."""
