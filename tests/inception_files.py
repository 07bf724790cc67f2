"""Files of Inception weights as the tests need them: both formats, written without PyTorch."""

import io
import tarfile

import numpy as np

from ganlib.evaluation.extractors import inception_network, inception_weights
from ganlib.evaluation.extractors.torch_file import MAGIC

VERSION, FACTS = b"\x80\x02M\xe9\x03.", b"\x80\x02}."


def random_weights(seed=0):
    """Tensors by the graph's names and in its layout, whose activations neither die nor explode."""
    random = np.random.default_rng(seed)
    tensors = {}
    for scope, shape in inception_network.kernel_shapes().items():
        width = shape[-1]
        tensors[f"{scope}/conv2d_params"] = random.normal(0.0, np.sqrt(2.0 / np.prod(shape[:3])), shape)
        tensors[f"{scope}/batchnorm/beta"] = random.normal(0.0, 0.1, width)
        tensors[f"{scope}/batchnorm/gamma"] = random.uniform(0.6, 1.3, width)
        tensors[f"{scope}/batchnorm/moving_mean"] = random.normal(0.0, 0.1, width)
        tensors[f"{scope}/batchnorm/moving_variance"] = random.uniform(0.5, 1.5, width)
    tensors["softmax/weights"] = random.normal(0.0, 0.02, (2048, 1008))
    tensors["softmax/biases"] = random.normal(0.0, 1.0, 1008)
    return {name: tensor.astype(np.float32) for name, tensor in tensors.items()}


def text(value):
    return b"X" + len(value).to_bytes(4, "little") + value.encode()


def number(value):
    return b"J" + value.to_bytes(4, "little", signed=True)


def items(*parts):
    return b"(" + b"".join(parts) + b"t"


def name(module, attribute):
    return f"c{module}\n{attribute}\n".encode()


def storage(key, elements, kind="FloatStorage"):
    return items(text("storage"), name("torch", kind), text(key), text("cpu"), number(elements), b"N") + b"Q"


def tensor(where, shape, strides, offset=0):
    sizes = (items(*map(number, axes)) for axes in (shape, strides))
    return (
        name("torch._utils", "_rebuild_tensor_v2")
        + items(where, number(offset), *sizes, b"\x89", name("collections", "OrderedDict") + b")R")
        + b"R"
    )


def torch_file(tensors, storages=()):
    """A file of pickled tensors by name, then of storages' elements by key."""
    named = b"\x80\x02" + name("collections", "OrderedDict") + b")R("
    named += b"".join(text(key) + value for key, value in tensors.items()) + b"u}(" + text("_metadata") + b"}ub."
    keys = b"\x80\x02](" + b"".join(text(key) for key, _ in storages) + b"e."
    elements = b"".join(len(array).to_bytes(8, "little") + array.tobytes() for _, array in storages)
    return MAGIC + VERSION + FACTS + named + keys + elements


def port_file(weights):
    """The PyTorch port's file: kernels lie as in the graph, and are turned by their strides; others as PyTorch does."""
    tensors, storages = {}, []
    for count, (own, theirs) in enumerate(inception_weights.PORT_NAMES.items()):
        array = weights[own]
        turned = array.transpose({4: (3, 2, 0, 1), 2: (1, 0)}.get(array.ndim))
        if count % 2:
            turned = np.ascontiguousarray(turned)
            array = turned
        strides = [stride // array.itemsize for stride in turned.strides]
        tensors[theirs] = tensor(storage(str(count), array.size), turned.shape, strides)
        storages.append((str(count), array.ravel()))
        if own.endswith("beta"):
            tensors[theirs.replace("bias", "num_batches_tracked")] = tensor(
                storage(f"n{count}", 1, "LongStorage"), (), ()
            )
            storages.append((f"n{count}", np.zeros(1, np.int64)))
    return torch_file(tensors, storages)


def graph_file(weights):
    """A frozen graph of the constants, one of them written as one value for all, and of a node that is none."""
    from tensorflow.core.framework import graph_pb2, types_pb2

    graph = graph_pb2.GraphDef()
    graph.node.add(name="ExpandDims", op="Placeholder")
    for own, array in weights.items():
        node = graph.node.add(name=own, op="Const")
        value = node.attr["value"].tensor
        value.dtype = types_pb2.DT_FLOAT
        for size in array.shape:
            value.tensor_shape.dim.add(size=size)
        if (array == array.flat[0]).all():
            value.float_val.append(array.flat[0])
        else:
            value.tensor_content = array.tobytes()
    return graph.SerializeToString()


def archive(graph, inside="classify_image_graph_def.pb"):
    """The gzipped tar that holds a graph beside another file."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w:gz", compresslevel=1) as tar:
        for file, content in (("LICENSE", b"free"), (inside, graph)):
            member = tarfile.TarInfo(file)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return written.getvalue()
