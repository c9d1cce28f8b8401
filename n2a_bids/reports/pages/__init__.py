"""Pages of the report, for a participant and for the group."""
