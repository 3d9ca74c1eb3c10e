"""Compiles the modules that passes and checks may import; what they never do is left out.

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
    r"/tests?/"
    r"|/torch/testing/_internal/"
    r"|/onnx/backend/test/"
    r"|/pygments/lexers/"
    r"|/transformers/models/(?!auto/|phi3?/|llama/)[a-z0-9_]+/"
)

# Some packages ship files that are templates or for other Pythons: their errors mean nothing here.
compileall.compile_dir(
    sys.argv[1] if sys.argv[1:] else sysconfig.get_path("purelib"),
    quiet=2,
    workers=0,
    rx=LEFT_OUT,
    invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
)
