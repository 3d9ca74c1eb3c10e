"""Compiles the modules that passes and checks may import; what they never do is left out: a fifth
of all bytecode, which takes a fifth of the time.

Run with the Python whose packages are to be compiled, or also with the folder that holds packages
for it. A process in a read-only container cannot keep bytecode, and without any the first
`import torch, transformers, peft` takes 17 s instead of 7. `unchecked-hash` makes the files the
same from build to build and spares a look at each source. Other modules still work: Python compiles
them when they are imported.
"""

import compileall
import py_compile
import re
import sys
import sysconfig

LEFT_OUT = re.compile(
    r"/(tests?|benchmarks)/"
    r"|/(sqlalchemy|alembic|mako|setuptools|typer|click|rich)/"
    r"|/torch/(testing/_internal|_vendor/quack|distributed/pipelining)/"
    r"|/(onnx/backend/test|onnx/reference/ops|onnxruntime/tools)/"
    r"|/onnxruntime/transformers/(models/|fusion_(?!utils))"
    r"|/sympy/(physics|parsing/[a-z]+|stats|combinatorics)/"
    r"|/(numpy/distutils|scipy/(signal|io)|pydantic/v1|pygments/lexers)/"
    r"|/huggingface_hub/(cli|inference)/"
    r"|/transformers/(exporters|pipelines)/"
    r"|/transformers/models/(?!auto/|bloom/|phi3?/|llama/)[a-z0-9_]+/"
)

if __name__ == "__main__":
    # Some packages ship files that are templates or for other Pythons: their errors mean nothing.
    compileall.compile_dir(
        sys.argv[1] if sys.argv[1:] else sysconfig.get_path("purelib"),
        quiet=2,
        workers=0,
        rx=LEFT_OUT,
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )
