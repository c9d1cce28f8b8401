"""Methods text of the report (boilerplate) with its references."""
