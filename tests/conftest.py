"""What holds for every test."""

import orchestra  # noqa: F401 - before grpc, whose log lines it turns off
