"""A pod's program: answers HTTP with its pod's name, and prints the path of each request.

/status/NNN answers NNN. /healthz answers 200 for the first FAIL_AFTER requests (for ever if that is not set),
then 500.
"""

import os
import socket

listener = socket.create_server((os.environ["HOST"], int(os.environ["PORT"])), backlog=128)
left = int(os.environ.get("FAIL_AFTER", "-1"))
name = os.environ.get("POD_NAME", os.environ["HOSTNAME"])
print("serving", flush=True)
while True:
    connection, _ = listener.accept()
    with connection:
        line = connection.makefile("rb").readline().split()
        if len(line) < 2:
            continue
        path = line[1].decode()
        code = "200"
        if path.startswith("/status/"):
            code = path.removeprefix("/status/")
        elif path == "/healthz":
            code = "500" if left == 0 else "200"
            left = max(0, left - 1) if left > 0 else left
        else:
            print(path, flush=True)
        answer = f"HTTP/1.1 {code} x\r\nContent-Length: {len(name)}\r\nConnection: close\r\n\r\n{name}"
        connection.sendall(answer.encode())
