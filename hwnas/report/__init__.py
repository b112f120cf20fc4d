"""A run for people: figures, tables, one page. Drawing takes values and returns what was drawn."""
