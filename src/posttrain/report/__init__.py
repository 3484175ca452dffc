"""Reports: tables, comparisons and curves for people, from finished evaluations. Loads no torch."""
