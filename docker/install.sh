#!/bin/sh
# Installs pinned requirements into /opt/venv and removes what the steps do not need: the installer, C++ headers and
# compiler libraries (for extensions of TensorFlow), and tests of other packages. (Folders with the name `test` stay:
# some are public modules.)
set -eu
python3 -m venv /opt/venv
/opt/venv/bin/pip install --quiet --no-cache-dir --disable-pip-version-check -r "/opt/install/$1"
/opt/venv/bin/pip uninstall --quiet --yes libclang setuptools wheel pip
packages=/opt/venv/lib/python3.11/site-packages
rm -rf "$packages/tensorflow/include"
find "$packages" -type d -name tests -prune -exec rm -rf {} +
