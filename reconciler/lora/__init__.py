"""What a LoRA adapter is, and whether it belongs to a base model: facts, contract, recipes, data set (pure)."""
