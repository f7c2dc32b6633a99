# Changes deploy/nginx.conf for a container that can write only to /tmp: sed -f nginx.sed nginx.conf
# deploy/kubernetes/nginx.conf is its output; nginx of compose.yaml runs it at its start.
s|^user nginx;.*|pid /tmp/nginx.pid;|
/^pid \/run/d
s|/var/log/nginx/error.log|/dev/stderr|
s|/var/log/nginx/access.log|/dev/stdout|
s|/var/cache/nginx/|/tmp/|
s|listen 80 |listen 8080 |
