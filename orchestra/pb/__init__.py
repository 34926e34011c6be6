"""Generated protobuf messages, and short names for them: `from orchestra.pb import core, meta, apps`.

Knows only shapes. The definitions are under protos/; scripts/setup generates the code.
"""
