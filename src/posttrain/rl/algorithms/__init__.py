"""An algorithm is a row: advantage × objective × aggregation × KL × correction. `presets` has no torch in it."""
