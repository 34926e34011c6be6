"""Objects into text: tables with kubectl's columns, yaml, json, names, jsonpath, custom columns.

Pure: objects and a time come in, text goes out. Must know neither the client nor the line that was typed, so
that each table can be held against a golden text.
"""
