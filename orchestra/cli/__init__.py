"""The command line: composition roots and kubectl's verbs.

Knows how a request is typed and how an answer is printed, and nothing else: what a request means is the
server's business, reached through orchestra.client. Every verb is a module of its own that is loaded only
when it is typed, so that `orchestra get` starts at once and `orchestra agent` carries no printer. Printing
and describing are pure: objects and a time come in, text goes out.
"""
