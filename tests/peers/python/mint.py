"""Mints tokens with PyJWT; see ../README.md.

The argument is a JSON list of `{"alg", "key", "claims", "headers"}`. A key is `{"secret": …}` or the
name of one that is made at the start: `rsa`, `p256`, `p384` or `ed`.
"""

import json
import sys

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

KEYS = {
    "rsa": (rsa.generate_private_key(public_exponent=65537, key_size=2048), RSAAlgorithm),
    "p256": (ec.generate_private_key(ec.SECP256R1()), ECAlgorithm),
    "p384": (ec.generate_private_key(ec.SECP384R1()), ECAlgorithm),
    "ed": (ed25519.Ed25519PrivateKey.generate(), OKPAlgorithm),
}


def pem(key):
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ).decode()


def public(name):
    key, kind = KEYS[name]
    return json.loads(kind.to_jwk(key.public_key())) | {"kid": name}


def mint(wanted):
    key = wanted["key"]
    secret = key["secret"] if isinstance(key, dict) else KEYS[key][0]
    headers = wanted.get("headers", {} if isinstance(key, dict) else {"kid": key})
    return jwt.encode(wanted["claims"], secret, algorithm=wanted["alg"], headers=headers)


print(
    json.dumps(
        {
            "passed": ["minted"],
            "tokens": [mint(wanted) for wanted in json.loads(sys.argv[1])],
            "pem": {name: pem(key) for name, (key, _) in KEYS.items()},
            "jwks": {"keys": [public(name) for name in KEYS]},
        }
    )
)
