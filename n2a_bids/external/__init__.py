"""Programs and libraries of others: ANTs and deepbet in child processes, dipy on arrays."""
