#!/bin/sh
# Installs SoftHSM2 when it is missing, through the system's package manager; says in one sentence what to do where it can't.
set -eu

find_module() {
    for place in "${COFFRE_PKCS11_MODULE:-}" /usr/lib/softhsm/libsofthsm2.so /usr/lib/*/softhsm/libsofthsm2.so \
        /usr/lib64/softhsm/libsofthsm.so /usr/lib64/pkcs11/libsofthsm2.so /usr/lib/pkcs11/libsofthsm2.so \
        /usr/local/lib/softhsm/libsofthsm2.so /opt/homebrew/lib/softhsm/libsofthsm2.so; do
        if [ -n "$place" ] && [ -f "$place" ]; then
            printf '%s\n' "$place"
            return 0
        fi
    done
    return 1
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null 2>&1; then
        sudo "$@"
    else
        echo "SoftHSM2 is missing and this account may not install packages. Ask an administrator to run: $*" >&2
        exit 3
    fi
}

if find_module; then
    exit 0
fi
if command -v apt-get >/dev/null 2>&1; then
    as_root apt-get update -q >&2
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends softhsm2 >&2
elif command -v dnf >/dev/null 2>&1; then
    as_root dnf install -q -y softhsm >&2
elif command -v zypper >/dev/null 2>&1; then
    as_root zypper --non-interactive install softhsm >&2
elif command -v apk >/dev/null 2>&1; then
    as_root apk add -q softhsm >&2
elif command -v pacman >/dev/null 2>&1; then
    as_root pacman -S --noconfirm softhsm >&2
elif command -v brew >/dev/null 2>&1; then
    brew install softhsm >&2
else
    echo "SoftHSM2 is missing and no known package manager was found. Install SoftHSM 2.6 or later by hand, then try again." >&2
    exit 3
fi
if ! find_module; then
    echo "SoftHSM2 was installed but its module was not found. Set COFFRE_PKCS11_MODULE to the path of libsofthsm2.so." >&2
    exit 3
fi
