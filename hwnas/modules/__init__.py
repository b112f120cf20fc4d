"""Plain modules of the operators, one file per family, and the builder that assembles networks from them."""
