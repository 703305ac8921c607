"""What a network is trained for and judged by: one module per task, all behind one protocol."""
