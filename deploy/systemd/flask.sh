#!/bin/sh
# Runs a command for operators like the service: with its user, directories, settings and secrets. The
# service could not write to files that root made in /var/lib/proxy. Run as root:
#   sh deploy/systemd/flask.sh usage migrate
#   sh deploy/systemd/flask.sh key new search-team
set -euf
unit=embeddings-proxy.service
names='User|DynamicUser|StateDirectory|StateDirectoryMode|UMask|WorkingDirectory'
names="$names|Environment|EnvironmentFile|LoadCredential|LoadCredentialEncrypted"
shared=$(systemctl cat "$unit" | grep -E "^($names)=")

set -- /opt/embeddings-proxy/.venv/bin/flask --app wsgi "$@"
words=$#
IFS='
'
for line in $shared; do
    set -- "$@" "--property=$line"
done
while [ "$words" -gt 0 ]; do  # the command comes last
    word=$1
    shift
    set -- "$@" "$word"
    words=$((words - 1))
done
exec systemd-run --quiet --pipe --wait --collect "$@"
