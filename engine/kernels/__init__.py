"""Our own kernels for the CPU, in C++ (`native/`): linear layers and attention on few rows, and what surrounds GEMMs.

They are built when the package is installed, if there is a C++ compiler, and never needed: without them torch's kernels
serve. `library` finds them, `structures` mirrors their data, `operators` makes torch operators of them.
"""
