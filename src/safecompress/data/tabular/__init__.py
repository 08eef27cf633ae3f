"""Tables: rows of numbers and categories in CSV and NPZ files."""
