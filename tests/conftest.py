"""What holds for every test."""

import os

import orchestra  # noqa: F401 - before grpc, whose log lines it turns off

# The settings of whoever runs the tests are no part of them.
os.environ["ORCHESTRA_CONFIG"] = "/nonexistent/orchestra.yaml"
os.environ.pop("ORCHESTRA_SERVER", None)
