"""Archives and npz files with false claims."""

import io
import tarfile
import zipfile

import numpy as np

HUGE = 2**48  # values, as a header may claim


def tar_header(name, size, *, kind=tarfile.REGTYPE, real=None):
    """Returns a header with any size, and with the unpacked size of a sparse file."""
    member = tarfile.TarInfo(name)
    member.type, member.size = kind, size
    header = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    if real is not None:
        header[483:495] = tarfile.itn(real, 12, tarfile.GNU_FORMAT)
        header[148:156] = b"%06o\0 " % tarfile.calc_chksums(header)[0]
    return bytes(header)


def pax(key, value, *, kind):
    record = f"{len(key) + len(value) + 5} {key}={value}\n".encode()
    return tar_header("pax", len(record), kind=kind) + record.ljust(512, b"\0")


def tar(kind, name="b.png"):
    """Returns a plain tar with a good member, followed by one of the given kind."""
    evil = {
        "backwards": tar_header(name, -512),
        "backwards and sparse": tar_header(name, -512, kind=tarfile.GNUTYPE_SPARSE, real=5),
        "backwards behind a size for all": pax("size", "5", kind=tarfile.XGLTYPE) + tar_header(name, -512),
        "below nothing for all": pax("size", "-9", kind=tarfile.XGLTYPE) + tar_header(name, 0),
        "beyond all": tar_header(name, 2**80),
        "long name beyond all": tar_header("long", 2**80, kind=tarfile.GNUTYPE_LONGNAME) + tar_header(name, 0),
        "long name of a terabyte": tar_header("long", 2**40, kind=tarfile.GNUTYPE_LONGNAME) + tar_header(name, 0),
        "long names without end": tar_header("long", 0, kind=tarfile.GNUTYPE_LONGNAME) * 1000 + tar_header(name, 0),
        "one hole": tar_header(name, 0, kind=tarfile.GNUTYPE_SPARSE, real=2**33),
    }[kind]
    return tar_header("a.png", 1) + b"x".ljust(512, b"\0") + evil + bytes(1024)


TARS = (
    "backwards",
    "backwards and sparse",
    "backwards behind a size for all",
    "below nothing for all",
    "beyond all",
    "long name beyond all",
    "long name of a terabyte",
    "long names without end",
)


def write_npz(path, damage, **arrays):
    """Writes an npz file, and damages its first array or its directory as `damage` says."""
    name = next(iter(arrays))
    np.savez(path, **arrays)
    if damage in ("claim", "no array", "header"):
        claim, header = io.BytesIO(), {"descr": "|u1", "fortran_order": False, "shape": (HUGE,)}
        np.lib.format.write_array_header_1_0(claim, header)
        text = b"\x93NUMPY\x01\x00\x02\x00{\n"
        content = {"claim": claim.getvalue(), "no array": b"bytes", "header": text}[damage]
        with zipfile.ZipFile(path, "w") as file:
            for other, array in arrays.items():
                file.writestr(f"{other}.npy", content) if other == name else file.writestr(f"{other}.npy", bytes(array))
        return
    data = bytearray(path.read_bytes())
    entry = data.find(b"PK\1\2")
    places = {"directory": entry, "password": entry + 8, "method": entry + 10, "version": entry + 6}
    data[places[damage]] ^= {"directory": 0xFF, "password": 1, "method": 99, "version": 0x80}[damage]
    if damage in ("password", "method"):
        data[places[damage] - entry - 2] = data[places[damage]]  # the same in the member's own header
    path.write_bytes(data)


NPZ = ("directory", "version", "password", "method", "claim", "no array", "header")
