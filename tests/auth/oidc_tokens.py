"""Valid and invalid tokens, and the keys that sign them."""

import base64
import hmac
import json
import time

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

RSA = rsa.generate_private_key(65537, 2048)
OTHER = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
URL = "https://id/jwks"


def public(key, kid, **others):
    algorithm = jwt.algorithms.RSAAlgorithm if key in (RSA, OTHER) else jwt.algorithms.ECAlgorithm
    entry = algorithm.to_jwk(key.public_key(), as_dict=True)
    return entry | ({"kid": kid} if kid else {}) | others


def document(*keys):
    return json.dumps({"keys": list(keys)}).encode()


def token(key=RSA, kid="one", alg="RS256", headers=None, **claims):
    now = int(time.time())
    usual = {"iss": "https://id", "aud": "proxy", "sub": "alice", "exp": now + 60, "nbf": now}
    payload = {name: value for name, value in (usual | claims).items() if value is not None}
    return jwt.encode(payload, key, alg, {"kid": kid, **(headers or {})} if kid else headers)


def forged():
    """Build a token with the algorithm "none"; libraries refuse to make one."""
    parts = [{"alg": "none", "kid": "one"}, {"iss": "https://id", "aud": "proxy", "sub": "a"}]
    coded = [base64.urlsafe_b64encode(json.dumps(p).encode()).rstrip(b"=").decode() for p in parts]
    return ".".join([*coded, ""])


def confused():
    """Build a token signed by HMAC with the public key as secret (algorithm confusion)."""
    pem = RSA.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    signed = token(b"x" * 32, "one", "HS256").rpartition(".")[0]  # PyJWT refuses such a secret
    signature = hmac.digest(pem, signed.encode(), "sha256")
    return f"{signed}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


BAD = {
    "another's signature": lambda: token(OTHER),
    "another audience": lambda: token(aud="else"),
    "no audience": lambda: token(aud=None),
    "another issuer": lambda: token(iss="https://evil"),
    "no issuer": lambda: token(iss=None),
    "expired": lambda: token(exp=int(time.time()) - 60),
    "no end": lambda: token(exp=None),
    "an end that no number of seconds has": lambda: token(exp=10**400),
    "not yet": lambda: token(nbf=int(time.time()) + 60),
    "an unknown key": lambda: token(kid="three"),
    "the other's key": lambda: token(EC, "one", "ES256"),
    "an algorithm not allowed": lambda: token(alg="RS512"),
    "none": forged,
    "confused": confused,
    "no subject": lambda: token(sub=None),
    "an empty name": lambda: token(sub=""),
    "cut": lambda: token()[:-3],
    "noise": lambda: "a.b.c",
    "no token": lambda: "sk-any",
    "no UTF-8": lambda: "\udcff.\udcff.\udcff",
}
