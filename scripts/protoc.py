"""Turns protos/ into orchestra/pb: messages, gRPC stubs and their type stubs."""

import sys
from importlib import resources
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent


def generate(root: Path = ROOT) -> None:
    """Writes the generated modules beside the hand-written ones in orchestra/pb.

    Raises: SystemExit when protoc refuses a file; it has said where and why by then.
    """
    files = sorted((root / "protos" / "orchestra" / "pb").glob("*.proto"))
    includes = resources.files("grpc_tools") / "_proto"
    arguments = [
        "protoc",
        f"-I{root / 'protos'}",
        f"-I{includes}",
        f"--python_out={root}",
        f"--mypy_out=quiet:{root}",
        *[str(file) for file in files],
    ]
    services = [str(file) for file in files if "\nservice " in file.read_text(encoding="utf-8")]
    with_services = [
        "protoc",
        f"-I{root / 'protos'}",
        f"-I{includes}",
        f"--grpc_python_out={root}",
        f"--mypy_grpc_out=quiet:{root}",
        *services,
    ]
    if protoc.main(arguments) or protoc.main(with_services):
        sys.exit("protoc failed: see above")


if __name__ == "__main__":
    generate()
