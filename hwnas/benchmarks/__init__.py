"""Tables that others published: spaces whose networks were all trained, and latencies of many devices."""
