"""Where results go: names, dataset description, folders."""
