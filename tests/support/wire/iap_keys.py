"""Keys that sign IAP assertions, and a source of their public keys."""

import base64
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from google.auth import jwt
from google.auth.crypt.es import EsSigner

from ingress.callers.iap import IapVerifier
from shared.events.event import Caller, CallerSource
from tests.support.fakes.manual_clock import ManualClock

AUDIENCE = "/projects/1/global/backendServices/2"

ALICE = Caller("alice@example.com", CallerSource.IAP_ASSERTION, "1234")


class Key:
    def __init__(self, key_id: str) -> None:
        self.key_id = key_id
        private = ec.generate_private_key(ec.SECP256R1())
        self.private_pem = private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        self.public_pem = (
            private.public_key()
            .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
            .decode()
        )

    def sign(self, header: dict[str, Any] | None = None, **claims: Any) -> str:
        now = int(time.time())
        usual = {
            "iss": "https://cloud.google.com/iap",
            "aud": AUDIENCE,
            "iat": now,
            "exp": now + 600,
            "email": "alice@example.com",
            "sub": "accounts.google.com:1234",
        }
        payload = {name: value for name, value in (usual | claims).items() if value is not None}
        signer = EsSigner.from_string(self.private_pem, self.key_id)
        return str(jwt.encode(signer, payload, header=header).decode())


KEY = Key("key-1")

OTHER = Key("key-2")


class Keys:
    """Stands for the fetch of IAP's public keys, and counts its calls."""

    def __init__(self, *keys: Key, failing: Exception | None = None) -> None:
        self.keys = keys
        self.failing = failing
        self.fetches = 0

    def __call__(self) -> Mapping[str, str]:
        self.fetches += 1
        if self.failing:
            raise self.failing
        return {key.key_id: key.public_pem for key in self.keys}


def verifier(keys: Callable[[], Mapping[str, str]], clock: ManualClock | None = None) -> IapVerifier:
    return IapVerifier(audience=AUDIENCE, clock=clock or ManualClock(), fetch_keys=keys)


def segment(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")
