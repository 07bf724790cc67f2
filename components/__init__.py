"""One KFP component a file; file name, function name and step name are the same.

A component is a plain typed function whose body imports the library: it runs in a subprocess, in a
container and on a cluster alike. It carries no defaults; the pipeline does.
"""
