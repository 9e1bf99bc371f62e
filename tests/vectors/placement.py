"""Makes placement.json: where keys go, computed from the documentation of src/core/balance alone.

A second implementation, on purpose: it shares no code with the gateway, so that the vectors say what
is documented and not what the gateway happens to do. They never change; new ones may be added.

    pip install xxhash && python3 tests/vectors/placement.py > tests/vectors/placement.json
"""

import json
from fractions import Fraction

import xxhash

WALK = 4  # candidates kept for each key
PLACES = 65_537

SETS = [
    {"one": 1},
    {"a": 1, "b": 1},
    {"127.0.0.1:9101": 1, "127.0.0.1:9102": 1, "127.0.0.1:9103": 1},
    {"chat-1": 1, "chat-2": 2, "chat-3": 7, "chat-4": 30},
    # Bytes decide the order of ids, not letters: B before a, ä last.
    {"B": 3, "a": 3, "b": 3, "ä": 3},
    # More weight than the ring keeps 160 points per unit for.
    {f"large-{n:02}": 676 - n for n in range(40)},
    {f"10.0.{n // 250}.{n % 250}:80": 1 + n % 5 for n in range(300)},
]

KEYS = [
    b"",
    b"a",
    b"user-1",
    b"user-2",
    "grüße, 世界".encode(),
    b"6f1c2b9e-3f52-4a86-9d55-0d9b0c6f0a11",
    bytes.fromhex("00000000000000000000ffff0a000001"),
    bytes(range(256)),
    b"x" * 300,
] + [b"room:%d" % n for n in range(11)]


def xxh3(data):
    return xxhash.xxh3_64_intdigest(data)


def le64(number):
    return number.to_bytes(8, "little")


def distinct(indexes):
    return list(dict.fromkeys(indexes))


def consistent_hash(members):
    total, shift = sum(weight for _, weight in members), 0
    while 160 * total >> shift > 1 << 22:
        shift += 2
    points = sorted(
        (xxh3(name + le64(seq)), index)
        for index, (name, weight) in enumerate(members)
        for seq in range(max(1, 160 * weight >> shift))
    )

    def walk(key):
        at = xxh3(key)
        start = next((n for n, (point, _) in enumerate(points) if point >= at), 0)
        return distinct(index for _, index in points[start:] + points[:start])

    return walk


def cost(h):
    h = max(h, 1)
    zeros = 64 - h.bit_length()
    m, f = h << zeros, 0
    for _ in range(48):
        square = m * m
        bit = square >> 127
        f = f << 1 | bit
        m = square >> (64 if bit else 63)
    return (zeros + 1 << 48) - f


def rendezvous(members):
    def walk(key):
        def rank(index):
            name, weight = members[index]
            h = xxh3(le64(xxh3(key)) + le64(xxh3(name)))
            return Fraction(cost(h), weight), index

        return sorted(range(len(members)), key=rank)

    return walk


def maglev(members):
    largest = max(weight for _, weight in members)
    table, taken, preferences = [None] * PLACES, [0] * len(members), []
    for name, _ in members:
        h = xxh3(name)
        offset, step = h % PLACES, h // PLACES % (PLACES - 1) + 1
        preferences.append(iter([(offset + i * step) % PLACES for i in range(PLACES)]))
    left, turn = PLACES, 0
    while left:
        turn += 1
        for index, (_, weight) in enumerate(members):
            if left and taken[index] < Fraction(turn * weight, largest):
                place = next(p for p in preferences[index] if table[p] is None)
                table[place] = index
                taken[index] += 1
                left -= 1

    def walk(key):
        start = xxh3(key) % PLACES
        return distinct(table[start:] + table[:start] + list(range(len(members))))

    return walk


def main():
    groups = []
    for policy in (consistent_hash, rendezvous, maglev):
        for weights in SETS:
            members = sorted((name.encode(), weight) for name, weight in weights.items())
            walk = policy(members)
            groups.append(
                {
                    "policy": policy.__name__,
                    "members": {name.decode(): weight for name, weight in members},
                    "walks": {
                        key.hex(): [members[index][0].decode() for index in walk(key)[:WALK]]
                        for key in KEYS
                    },
                }
            )
    # A line for each key: what changes shows.
    print("[")
    for n, group in enumerate(groups):
        print(f' {{"policy": {json.dumps(group["policy"])},')
        print(f'  "members": {json.dumps(group["members"], ensure_ascii=False)},')
        print('  "walks_by_hex_key": {')
        walks = [
            f'   "{key}": {json.dumps(walk, ensure_ascii=False)}'
            for key, walk in group["walks"].items()
        ]
        print(",\n".join(walks))
        print("  }}" + ("," if n + 1 < len(groups) else ""))
    print("]")


main()
