"""A recipe's own objects on torch's "meta" device, where tensors have shapes alone: what it refuses, what it costs."""
