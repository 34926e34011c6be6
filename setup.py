"""Generates orchestra/pb from protos/ when a wheel is built; everything else is in pyproject.toml."""

import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

sys.path.insert(0, str(Path(__file__).parent / "scripts"))


class BuildWithMessages(build_py):
    """build_py, after protoc."""

    def run(self) -> None:
        from protoc import generate

        generate(Path(__file__).resolve().parent)
        super().run()


setup(cmdclass={"build_py": BuildWithMessages})
