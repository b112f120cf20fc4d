"""A front for people: figures, an interactive page. Drawing takes values and returns what was drawn."""
