"""What can be chosen: choices, architectures, operators, layers, wiring, spaces, costs. No torch."""
