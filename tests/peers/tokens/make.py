"""PyJWT makes keys and tokens, good ones and bad ones.

    .venv/bin/python tokens/make.py FOLDER

Writes into FOLDER what a verifier needs: RS256.pem, ES256.pem, EdDSA.pem (public keys), HS256.secret
and keys.json (all three public keys, with their algorithms as kid). Prints {NAME: TOKEN, …}.
"""

import json
import sys
import time
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, HMACAlgorithm, OKPAlgorithm, RSAAlgorithm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import peer

SECRET = "a secret that is long enough for HS256"
PUBLIC = {"RS256": RSAAlgorithm, "ES256": ECAlgorithm, "EdDSA": OKPAlgorithm}


def main(options):
    folder, now = Path(options.folder), int(time.time())
    keys = {
        "RS256": rsa.generate_private_key(public_exponent=65537, key_size=2048),
        "ES256": ec.generate_private_key(ec.SECP256R1()),
        "EdDSA": ed25519.Ed25519PrivateKey.generate(),
        "HS256": SECRET,
    }
    pem, jwks = {}, []
    for name, family in PUBLIC.items():
        public = keys[name].public_key()
        pem[name] = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (folder / f"{name}.pem").write_bytes(pem[name])
        jwks.append({**json.loads(family.to_jwk(public)), "kid": name, "use": "sig"})
    (folder / "keys.json").write_text(json.dumps({"keys": jwks}))
    (folder / "HS256.secret").write_text(SECRET + "\n")

    good = {"sub": "eve", "aud": "chat", "iss": "login", "exp": now + 600}

    def token(algorithm, claims, key=None, **headers):
        return jwt.encode(claims, key or keys[algorithm], algorithm=algorithm, headers=headers)

    def confused():
        """Signed with the public key, taken for a secret. PyJWT itself refuses to do that."""
        class Naive(HMACAlgorithm):
            def prepare_key(self, key):
                return key

        jws = jwt.PyJWS()
        jws.unregister_algorithm("HS256")
        jws.register_algorithm("HS256", Naive(HMACAlgorithm.SHA256))
        return jws.encode(json.dumps(good).encode(), pem["RS256"], algorithm="HS256")

    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    tokens = {name: token(name, good, kid=name) for name in keys}
    head, payload, signature = token("RS256", good).split(".")
    tokens |= {
        "none": jwt.encode(good, None, algorithm="none"),
        "confused": confused(),
        "other key": token("RS256", good, other),
        "other algorithm": token("RS512", good, keys["RS256"]),
        "unsigned": f"{head}.{payload}.",
        "other claims": f"{head}.{token('RS256', {**good, 'sub': 'adam'}).split('.')[1]}.{signature}",
        "unknown kid": token("RS256", good, kid="gone"),
        "critical": token("RS256", good, crit=["b64"], b64=True),
        "expired": token("RS256", {**good, "exp": now - 60}),
        "no exp": token("RS256", {k: v for k, v in good.items() if k != "exp"}),
        "not yet": token("RS256", {**good, "nbf": now + 600}),
        "other audience": token("RS256", {**good, "aud": "mail"}),
        "other issuer": token("RS256", {**good, "iss": "other"}),
        "late": token("RS256", {**good, "exp": now - 10}),
        "nameless": token("RS256", {k: v for k, v in good.items() if k != "sub"}),
        "list": token("RS256", {**good, "aud": ["mail", "chat"]}),
    }
    return tokens


if __name__ == "__main__":
    peer.client(main, peer.arguments(__doc__, "FOLDER").parse_args(sys.argv[1:]))
