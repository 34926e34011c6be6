"""The verbs, one module each, loaded when typed. Each has COMMANDS; none knows another's insides."""
