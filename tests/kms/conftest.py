"""Fixtures of the key room: a token with keys, the fake beside it, and a module that misbehaves."""

from __future__ import annotations

import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from kms.keys import KeyService
from kms.lifecycle import Lifecycle, create_first_keys
from kms.settings import KmsSettings
from kms.token import TokenKeys
from tests.kms import shim as shims
from tests.kms.fake import FakeKeyService, MemoryRegistry


@pytest.fixture
def registry() -> MemoryRegistry:
    """An empty registry."""
    return MemoryRegistry()


@pytest.fixture
def token_keys(softhsm: KmsSettings, registry: MemoryRegistry) -> Iterator[TokenKeys]:
    """The real key service on a fresh SoftHSM2 token with its first keys."""
    create_first_keys(softhsm, registry)
    keys = TokenKeys(softhsm, registry)
    yield keys
    keys.close()


@pytest.fixture
def lifecycle(token_keys: TokenKeys, registry: MemoryRegistry) -> Lifecycle:
    """The operator's side of ``token_keys``."""
    return Lifecycle(token_keys, registry, lambda: 1_790_000_000)


def nss_module() -> Path:
    """NSS's own token module, with ``certutil`` on the path."""
    for place in ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"):
        module = Path(place) / "libsoftokn3.so"
        if module.is_file() and shutil.which("certutil"):
            return module
    pytest.skip("NSS softokn is not installed (Debian: libnss3 libnss3-tools)")


@pytest.fixture
def nss(tmp_path: Path) -> KmsSettings:
    """Settings of a fresh NSS token: the second real implementation, with AES key wrap in the place of GCM."""
    module, directory, pin = nss_module(), tmp_path / "nss", tmp_path / "nss-pin"
    directory.mkdir(mode=0o700)
    pin.touch(mode=0o600)
    pin.write_text(secrets.token_hex(16))
    subprocess.run(["certutil", "-N", "-d", f"sql:{directory}", "-f", str(pin)], check=True, capture_output=True)
    parameters = f"configdir='sql:{directory}' certPrefix='' keyPrefix='' secmod='' flags=noModDB"
    return KmsSettings(module, "NSS Certificate DB", pin, library_parameters=parameters, profile="nss", timeout_ms=30_000)


@pytest.fixture
def nss_keys(nss: KmsSettings, registry: MemoryRegistry) -> Iterator[TokenKeys]:
    """The real key service on NSS, suite 3."""
    create_first_keys(nss, registry)
    keys = TokenKeys(nss, registry)
    yield keys
    keys.close()


@pytest.fixture(params=["fake", pytest.param("softhsm", marks=pytest.mark.hsm), pytest.param("nss", marks=pytest.mark.hsm)])
def keys(request: pytest.FixtureRequest) -> KeyService:
    """Every implementation of KeyService that the contract holds for."""
    if request.param == "fake":
        return FakeKeyService()
    service: TokenKeys = request.getfixturevalue("nss_keys" if request.param == "nss" else "token_keys")
    return service


@pytest.fixture(scope="session")
def shim_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled fault shim."""
    return shims.build(tmp_path_factory.mktemp("shim"))


@pytest.fixture
def shim(softhsm: KmsSettings, shim_library: Path, tmp_path: Path) -> Iterator[shims.Shim]:
    """SoftHSM2 behind the fault shim; it behaves until the test says otherwise."""
    loaded = shims.load(shim_library, softhsm, tmp_path)
    yield loaded
    loaded.close()


@pytest.fixture
def open_shim(shim: shims.Shim, registry: MemoryRegistry) -> Iterator[Callable[..., TokenKeys]]:
    """Opens the key service through the shim, keys made; settings may be changed by keyword."""
    opened: list[TokenKeys] = []

    def open_it(sessions: int = 8, timeout_ms: int = 4000) -> TokenKeys:
        settings = replace(shim.settings, sessions=sessions, timeout_ms=timeout_ms)
        create_first_keys(settings, registry)
        opened.append(TokenKeys(settings, registry))
        return opened[-1]

    yield open_it
    shim.behave()
    for service in opened:
        service.close()
