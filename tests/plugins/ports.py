"""A free port, for servers that cannot take any and say which it was."""

import subprocess
import sys

# Below the ports that systems give to whoever asks for any (from 32,768 or 49,152 on): nobody gets it meanwhile.
PROGRAM = """
import random, socket
while True:
    with socket.socket() as free:
        try:
            free.bind(("127.0.0.1", random.randrange(20_000, 32_000)))
        except OSError:
            continue
        print(free.getsockname()[1])
        break
"""


def free_port() -> int:
    """A port of 127.0.0.1. A child looks for it: sockets may be off in the tests' own process."""
    child = subprocess.run([sys.executable, "-I", "-S", "-c", PROGRAM], capture_output=True, text=True, check=True)
    return int(child.stdout)
