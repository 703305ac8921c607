"""Python runs this at its start: scripts of Snakemake's are handed to `server.py`, if it is there.

Most of what a small job costs is to import torch and transformers; the server has done it.
"""

import json
import os
import socket
import sys

ADDRESS = os.environ.get("BABELSCOPE_PREFORK")
script = next(iter(sys.orig_argv[1:]), "")
if ADDRESS and "/.snakemake/scripts/" in script:
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(ADDRESS)
        request = [script, os.getcwd(), dict(os.environ)]  # noqa: PTH109 (pathlib takes long)
        socket.send_fds(server, [json.dumps(request).encode() + b"\n"], [0, 1, 2])
        answer = server.recv(1)
    os._exit(answer[0] if answer else 1)  # no answer: it was killed
