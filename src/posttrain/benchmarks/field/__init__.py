"""The benchmarks of the field, one declaration each."""
