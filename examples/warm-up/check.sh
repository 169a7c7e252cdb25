#!/bin/sh
# What nginx itself says of its new configuration.
exec /usr/sbin/nginx -t -q -p "$(dirname "$0")/build" -c nginx.conf
