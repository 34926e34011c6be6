"""What every other package may know: errors, clocks, settings, logging.

Must know nothing of Orchestra's objects, wire or storage, so that everything can stand on it.
"""
