"""KFP components, one for each file. File, function and step have the same name.

A component is a plain typed function whose body imports the library, so that it runs in a subprocess, in a container
and on a cluster. It has no default arguments; the pipeline has them.
"""
