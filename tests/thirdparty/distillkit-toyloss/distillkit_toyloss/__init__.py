"""A method that distillkit has never heard of."""
