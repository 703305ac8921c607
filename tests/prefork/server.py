"""A process that has imported all that scripts import, and forks one that runs a script.

As in `tests/forking.py`, it has used one thread only.
"""

import importlib
import os
import pkgutil
import runpy
import socket
import sys
import traceback
from contextlib import suppress
from json import loads

import babelscope

LATER = [
    *("datasets", "faiss", "matplotlib.pyplot", "peft", "pyarrow.parquet", "scipy.stats"),
    *("seaborn", "sentence_transformers", "sklearn", "snakemake.script", "transformers.trainer"),
    *("transformers.models.bert.modeling_bert", "transformers.models.gpt2.modeling_gpt2"),
    "transformers.models.xlm_roberta.modeling_xlm_roberta",
]


def serve(client: socket.socket) -> None:
    """Run the script that somebody asks for, in its folder and environment, and say how it ended."""
    status = 1
    try:
        request, streams, _, _ = socket.recv_fds(client, 2**20, 3)
        while not request.endswith(b"\n"):
            request += client.recv(2**20)
        script, folder, environment = loads(request)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(folder)
        sys.argv = [script]
        sys.path[0] = os.path.dirname(script)
        runpy.run_path(script, run_name="__main__")
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        client.send(bytes([status]))
        os._exit(status)


if __name__ == "__main__":
    modules = pkgutil.walk_packages(babelscope.__path__, "babelscope.")
    for name in [*LATER, *(module.name for module in modules)]:
        importlib.import_module(name)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(sys.argv[1])
        server.listen()
        print("ready", flush=True)
        while True:
            client, _ = server.accept()
            with client:
                if not os.fork():
                    server.close()
                    serve(client)
            with suppress(ChildProcessError):  # there is none left
                while os.waitpid(-1, os.WNOHANG) != (0, 0):
                    pass
