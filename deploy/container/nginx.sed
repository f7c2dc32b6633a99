# deploy/nginx.conf → for a container of nginx: sed -f nginx.sed nginx.conf
# "proxy" is found by name when nginx starts: all addresses it has then.
s|^user nginx;.*|pid /tmp/nginx.pid;|
/^pid \/run/d
s|/var/log/nginx/error.log|/dev/stderr|
s|/var/log/nginx/access.log|/dev/stdout|
s|/var/cache/nginx/|/tmp/|
s|server 127.0.0.1:8000 |server proxy:8000 |
s|listen 80 |listen 8080 |
