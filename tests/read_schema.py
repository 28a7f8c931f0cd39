#!/usr/bin/env python3
"""Verifies the fingerprints of stored type records. Written from FORMAT.md ("Type records") alone.

Reads from standard input records as `Segment::stored_types` gives them, each as 16 bytes of fingerprint, 4 bytes of
length (little-endian) and the record; prints each fingerprint with the type's name, and fails if one is wrong.
"""
import hashlib
import struct
import sys

DOMAIN = b"shmem type 1\0"


class Record:
    """A record, cut where it refers to other types: pieces[0] ref[0] pieces[1] ref[1] ... pieces[n]."""

    def __init__(self, data):
        self.data, self.at, self.cut, self.pieces, self.refs = data, 0, 0, [], []
        origin, vouched, name = self.number(1), self.text(), self.text()
        self.name = vouched if origin == 3 else name
        self.number(4 + 8 + 4)  # version, size, alignment
        kind = self.number(1)
        if kind == 1:
            self.fields()
        elif kind == 2:
            self.number(1)
            for _ in range(self.number(2)):
                self.text(), self.number(16), self.fields()
        elif kind == 3:
            self.number(8), self.refer()
        elif kind not in (0, 4):
            raise ValueError(f"kind {kind}")
        for _ in range(self.number(2)):
            self.refer() if self.number(1) == 0 else self.number(16)
        if self.at != len(data):
            raise ValueError("bytes behind the record")
        self.pieces.append(data[self.cut :])

    def number(self, size):
        self.at += size
        if self.at > len(self.data):
            raise ValueError("the record ends early")
        return int.from_bytes(self.data[self.at - size : self.at], "little")

    def text(self):
        size = self.number(2)
        self.number(size)
        return self.data[self.at - size : self.at].decode()

    def fields(self):
        for _ in range(self.number(2)):
            self.text(), self.number(8), self.refer()

    def refer(self):
        self.pieces.append(self.data[self.cut : self.at])
        if self.number(1) != 0:
            raise ValueError("a stored record refers back")
        self.number(16)
        self.refs.append(self.data[self.at - 16 : self.at])
        self.cut = self.at


def fingerprint(types, of, path=()):
    """What the type that is stored under `of` hashes to, below the types of `path`."""
    path += (of,)
    record = types[of]
    out = record.pieces[0]
    for ref, piece in zip(record.refs, record.pieces[1:]):
        if ref in path:
            up = len(path) - 1 - path.index(ref)
            out += b"\1" + struct.pack("<QQ", up, 0)
        else:
            out += b"\0" + fingerprint(types, ref, path)
        out += piece
    return hashlib.sha256(DOMAIN + out).digest()[:16]


def main():
    data, at, types = sys.stdin.buffer.read(), 0, {}
    while at < len(data):
        (size,) = struct.unpack_from("<I", data, at + 16)
        types[data[at : at + 16]] = Record(data[at + 20 : at + 20 + size])
        at += 20 + size
    wrong = [stored for stored in types if fingerprint(types, stored) != stored]
    for stored, record in types.items():
        print(stored.hex(), record.name, "WRONG" if stored in wrong else "")
    sys.exit(1 if wrong or not types else 0)


main()
