#!/bin/sh
# Makes the secrets that compose.yaml and ../kubernetes/kustomization.yaml name, one file for each:
#   OPENAI_API_KEY=sk-… sh secrets.sh [DIRECTORY]
# Existing files are kept. Only the owner can enter the directory, but all users can read its files:
# compose mounts a file with its owner and mode here, ignores "uid" and "mode", and the readers are other
# users: 10001 (the proxy), 70 (PostgreSQL), 472 (Grafana).
set -eu
directory=${1:-$(dirname "$0")/secrets}
umask 077
mkdir -p "$directory"
chmod 0700 "$directory"

keep() {  # keep NAME VALUE
    [ -s "$directory/$1" ] || printf %s "$2" > "$directory/$1"
    chmod 0444 "$directory/$1"
}

random() {
    od -An -N24 -tx1 /dev/urandom | tr -d ' \n'
}

[ -s "$directory/openai_api_key" ] || : "${OPENAI_API_KEY:?must be set, or be in $directory/openai_api_key}"
keep openai_api_key "${OPENAI_API_KEY:-}"
keep client_key "sk-$(random)"
keep postgres_password "$(random)"
keep grafana_password "$(random)"
