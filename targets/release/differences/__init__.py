"""What differs between a release and its rebuild, said at the level that helps.

``compare`` holds two folders or files against each other, ``archives`` two archives. Each kind of
file is one module, found by the file's name in ``kinds``; NumPy and ONNX are imported only where
such a file differs.
"""
