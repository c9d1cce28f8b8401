"""What other libraries do for us: ANTs and deepbet in processes of their own, dipy on arrays."""
