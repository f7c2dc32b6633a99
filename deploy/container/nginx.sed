# deploy/nginx.conf → for a container of nginx, which can write to /tmp alone: sed -f nginx.sed nginx.conf
# deploy/kubernetes/nginx.conf is what it makes; compose.yaml's nginx makes it when it starts.
s|^user nginx;.*|pid /tmp/nginx.pid;|
/^pid \/run/d
s|/var/log/nginx/error.log|/dev/stderr|
s|/var/log/nginx/access.log|/dev/stdout|
s|/var/cache/nginx/|/tmp/|
s|listen 80 |listen 8080 |
