"""What `describe` says of an object: pure text from the object and what belongs to it.

Each function takes what the verb has gathered and a time, and writes lines with tabs into a Writer; fetching
is the verb's business.
"""
