"""Learning from preferences: answers of a model, pairs of better and worse ones, and DPO with its relatives."""
