import os
from setuptools import setup
setup(cffi_modules=[] if "BETTONG_EDITABLE" in os.environ else ["native/bindings.py:ffibuilder"])
