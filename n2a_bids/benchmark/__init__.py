"""Every method on identical simulated data: truths, cells, methods, tables, trust tests, speed."""
