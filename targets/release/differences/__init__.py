"""What differs between a release and its rebuild: which file or tensor, and by how much.

``compare`` holds two folders or files against each other, ``archives`` two archives. Each kind of
file is one module, found by the file's name in ``kinds``; NumPy and ONNX are imported only where
such a file differs. Everything else about a difference is left to diffoscope
(https://diffoscope.org).
"""
