"""The stages of a plan, one file per family: each reads one clip and answers records and arrays."""
