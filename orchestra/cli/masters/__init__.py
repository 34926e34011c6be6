"""A master, composed: a store it stands on, the API that it always serves, and what it does while it leads.

Knows how the parts are put together and in which order they start and stop; the parts know nothing of each
other. Must hold no logic of theirs, so that what is tested without processes is what runs in them.
"""
