"""A process that has imported all that scripts import, and forks one that runs a script.

As in `tests/forking.py`, it has used one thread only. What fresh processes alone would show is left
to the tests on Slurm: another order of sets, other random numbers, what is done at exit.
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
from pathlib import Path
from select import select

import babelscope

LATER = [
    *("datasets", "faiss", "matplotlib.pyplot", "peft", "pyarrow.parquet", "scipy.stats"),
    *("seaborn", "sentence_transformers", "sklearn", "snakemake.script", "transformers.trainer"),
    *("transformers.models.bert.modeling_bert", "transformers.models.gpt2.modeling_gpt2"),
    "transformers.models.xlm_roberta.modeling_xlm_roberta",
]


def serve(client: socket.socket) -> None:
    """Run the script that is asked for, in its folder and environment, and say how it ended."""
    status = 1
    try:
        request, streams, _, _ = socket.recv_fds(client, 2**20, 3)
        while not request.endswith(b"\n"):
            more = client.recv(2**20)
            request += more or sys.exit("nobody asks any more")
        script, folder, environment = loads(request)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(folder)
        sys.argv = [script]
        sys.path[0] = str(Path(script).parent)
        runpy.run_path(script, run_name="__main__")
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        sys.stderr.write("" if isinstance(end.code, int | None) else f"{end.code}\n")
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        client.send(bytes([status & 255]))
        os._exit(status & 255)


if __name__ == "__main__":
    modules = pkgutil.walk_packages(babelscope.__path__, "babelscope.")
    for name in [*LATER, *(module.name for module in modules)]:
        importlib.import_module(name)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(sys.argv[1])
        server.listen()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while server in select([server, sys.stdin], [], [])[0]:  # until standard input is closed
            client, _ = server.accept()
            with client:
                if not os.fork():
                    server.close()
                    serve(client)
            with suppress(ChildProcessError):  # there is none left
                while os.waitpid(-1, os.WNOHANG) != (0, 0):
                    pass
