#!/bin/sh
# A fresh SoftHSM2 token:  new-token.sh DIRECTORY [LABEL]
# Makes DIRECTORY/tokens, DIRECTORY/softhsm2.conf, DIRECTORY/pin and DIRECTORY/so-pin (mode 0600, random, 128 bits each).
# A second run keeps what is there. See new_token.py.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
COFFRE_PKCS11_MODULE=$("$here/install.sh")
export COFFRE_PKCS11_MODULE
exec python3 -I "$here/new_token.py" "$@"
