#!/bin/sh
# Takes out of a virtual environment what no step runs: its installer, C++ headers and compilers' libraries (wheels bring
# them for those who extend TensorFlow), and other people's tests. (Folders named `test` are public modules in places.)
set -eu
packages=$1/lib/python3.11/site-packages
"$1/bin/pip" uninstall --quiet --yes libclang setuptools wheel pip 2>/dev/null
rm -rf "$packages/tensorflow/include"
find "$packages" -type d -name tests -prune -exec rm -rf {} +
