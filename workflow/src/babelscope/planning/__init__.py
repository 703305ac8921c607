"""What a configuration costs, told before anything is run; imports no torch."""
